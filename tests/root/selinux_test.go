package root_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// needSELinux skips a test where there is no SELinux, or where it would keep the runtime,
// which has no type of its own in most policies, from executing a program with a label.
func needSELinux(t *testing.T) {
	t.Helper()
	harness.NeedRoot(t)
	harness.Need(t, harness.SELinux)
	if read(t, "/sys/fs/selinux/enforce") != "0" {
		harness.Lacks(t, harness.SELinux, "it is not permissive")
	}
}

// labelOf picks the first label that the policy knows and gives it categories.
func labelOf(t *testing.T, categories string, labels ...string) string {
	t.Helper()
	for _, l := range labels {
		l += ":s0" + categories
		if os.WriteFile("/sys/fs/selinux/context", []byte(l), 0) == nil {
			return l
		}
	}
	harness.Lacks(t, harness.SELinux, fmt.Sprintf("the policy has none of %q with %q", labels, categories))
	return ""
}

func processLabel(t *testing.T, categories string) string {
	t.Helper()
	return labelOf(t, categories, "system_u:system_r:container_t", "system_u:system_r:initrc_t")
}

func fileLabel(t *testing.T) string {
	t.Helper()
	return labelOf(t, ":c3,c4", "system_u:object_r:container_file_t", "system_u:object_r:tmpfs_t")
}

func currentLabel(t *testing.T, pid int) string {
	t.Helper()
	return strings.TrimRight(proc(t, pid, "attr/current"), "\x00")
}

func TestSELinuxProcessLabel(t *testing.T) {
	needSELinux(t)
	label, other := processLabel(t, ":c1,c2"), processLabel(t, ":c5")
	labelled := func(s *specs.Spec) { s.Process.SelinuxLabel = label }
	for name, edit := range map[string]change{
		"root":               labelled,
		"a user":             func(s *specs.Spec) { labelled(s); s.Process.User.UID = 1000 },
		"a user namespace":   func(s *specs.Spec) { mapped(s); labelled(s) },
		"no mount namespace": func(s *specs.Spec) { plain(s); labelled(s) },
		"no pid namespace":   func(s *specs.Spec) { labelled(s); withoutPID(s) },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			equal(t, "init", label, currentLabel(t, c.pid))
			equal(t, "exec takes it from the config", label, currentLabel(t, c.execed(nil)))
			equal(t, "a process without one, too", label, currentLabel(t, c.execed(&specs.Process{})))
			equal(t, "exec --process-label", other, currentLabel(t, c.execed(nil, "--process-label", other)))
			equal(t, "exec of a process with its own", other, currentLabel(t, c.execed(&specs.Process{SelinuxLabel: other})))
		})
	}
}

func TestSELinuxKeyringLabel(t *testing.T) {
	needSELinux(t)
	label := processLabel(t, ":c1,c2")
	c := start(t, func(s *specs.Spec) { s.Process.SelinuxLabel = label })
	c.execed(nil)
	keyrings := keyringsOf(t, c.id)
	equal(t, "keyrings of init and exec", 2, len(keyrings))
	for _, serial := range keyrings {
		buf := make([]byte, 256)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_GET_SECURITY, serial, buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "label", label, strings.TrimRight(string(buf[:n]), "\x00"))
	}
}

func TestSELinuxMountLabel(t *testing.T) {
	needSELinux(t)
	label := fileLabel(t)
	dir := source(t)
	c := start(t, func(s *specs.Spec) {
		s.Linux.MountLabel = label
		s.Linux.MaskedPaths = []string{"/masked"}
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/masked", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/mq", Type: "mqueue", Source: "mqueue"},
			specs.Mount{Destination: "/own", Type: "tmpfs", Source: "tmpfs", Options: []string{`context="` + strings.Replace(label, ":c3,c4", "", 1) + `"`}},
			bind(dir, "/bound"))
	})
	labelAt := func(path string) string {
		buf := make([]byte, 256)
		n, err := unix.Getxattr(filepath.Join("/proc", strconv.Itoa(c.pid), "root", path), "security.selinux", buf)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return strings.TrimRight(string(buf[:n]), "\x00")
	}
	for _, path := range []string{"/dev", "/dev/null", "/dev/pts", "/dev/shm", "/mq", "/masked"} {
		equal(t, path, label, labelAt(path))
	}
	equal(t, "a mount with its own", strings.Replace(label, ":c3,c4", "", 1), labelAt("/own"))
	for _, path := range []string{"/proc", "/sys", "/bound"} {
		if got := labelAt(path); got == label {
			t.Errorf("%s has the container's label", path)
		}
	}
}

func TestSELinuxLabelThatThePolicyLacks(t *testing.T) {
	needSELinux(t)
	refuse(t, func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:gantry_none_t:s0" },
		"process.selinuxLabel", "gantry_none_t", "`/proc/self/attr/", "invalid argument")
	refuse(t, func(s *specs.Spec) { s.Linux.MountLabel = "system_u:object_r:gantry_none_t:s0" }, "mounts[", "linux.mountLabel", "gantry_none_t", "invalid argument")
	c := start(t, nil)
	r := c.Run("exec", "--process-label", "not a label", c.id, "echo", "started")
	wantFailure(t, r, "process.selinuxLabel", "`/proc/self/attr/", "invalid argument")
}

func TestNoSELinux(t *testing.T) {
	harness.NeedRoot(t)
	if harness.SELinux.Probe() == nil {
		t.Skip("needs a kernel without SELinux")
	}
	refuse(t, func(s *specs.Spec) { s.Process.SelinuxLabel = "u:r:t:s0" }, "process.selinuxLabel", "SELinux is not enabled")
	refuse(t, func(s *specs.Spec) { s.Linux.MountLabel = "u:r:t:s0" }, "linux.mountLabel", "SELinux is not enabled")
	c := start(t, nil)
	wantFailure(t, c.Run("exec", "--process-label", "u:r:t:s0", c.id, "echo", "started"), "process.selinuxLabel", "SELinux is not enabled")
}
