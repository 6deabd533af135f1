package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// HasAppArmor reports whether AppArmor is active in this kernel.
func HasAppArmor() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
}

// HasSELinux reports whether SELinux is active and has a policy.
func HasSELinux() bool {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/selinux", &fs); err != nil || fs.Type != unix.SELINUX_MAGIC {
		return false
	}
	b, err := os.ReadFile("/proc/self/attr/current")
	return err == nil && !strings.HasPrefix(string(b), "kernel\x00")
}

// LoadProfile loads an AppArmor profile with these rules until the test ends, and returns
// its name. It skips the test where there is no AppArmor.
func LoadProfile(t testing.TB, kind, rules string) string {
	t.Helper()
	NeedRoot(t)
	if !HasAppArmor() {
		t.Skip("needs a kernel with AppArmor active: hack/vm")
	}
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("needs apparmor_parser (Debian: apparmor)")
	}
	name := fmt.Sprintf("gantry-test-%d-%s", os.Getpid(), kind)
	file := filepath.Join(t.TempDir(), name)
	text := "profile " + name + " flags=(attach_disconnected,mediate_deleted) {\n" + rules + "\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	parse := func(verb string) {
		if out, err := exec.Command(parser, verb, "--skip-cache", file).CombinedOutput(); err != nil {
			t.Errorf("apparmor_parser %s: %v: %s", verb, err, out)
		}
	}
	parse("--add")
	t.Cleanup(func() { parse("--remove") })
	return name
}
