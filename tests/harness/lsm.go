package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// LoadProfile loads an AppArmor profile with these rules until the test ends, and returns
// its name. It skips the test where there is no AppArmor.
func LoadProfile(t testing.TB, kind, rules string) string {
	t.Helper()
	NeedRoot(t)
	Need(t, AppArmor)
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		Lacks(t, AppArmor, "no apparmor_parser (Debian: apparmor)")
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
