package attack

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

const user = 1000

// A user who was given a cgroup keeps it to himself: his container, which has no cgroup
// namespace, sees the host's cgroups and writes to none.
func TestCVE_2023_25809_RootlessContainersDontWriteToCgroups(t *testing.T) {
	for name, m := range map[string]specs.Mount{
		"the host's /sys":        {Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}},
		"a mount of type cgroup": {Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			given := "/sys/fs/cgroup/pids/" + e.ID("given")
			if harness.CgroupV2.Probe() == nil {
				given = "/sys/fs/cgroup/" + e.ID("given")
			}
			mkdir(t, given)
			t.Cleanup(func() { _ = os.Remove(given + "/new"); _ = os.Remove(given) })
			if err := os.Chown(given, user, user); err != nil {
				t.Fatal(err)
			}
			bundle := e.Bundle("ls -d "+given+" && mkdir "+given+"/new 2>&1", func(s *specs.Spec) { rootless(s, m) })
			r := asUser(t, e, bundle)
			if r.Code != 1 || !strings.HasPrefix(r.Stdout, given) || !strings.Contains(r.Stdout, "Read-only file system") {
				t.Errorf("exit %d, %s%s, want a read-only file system", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}

// rootless makes a config that an ordinary user can run, with a mount of /sys or below.
func rootless(s *specs.Spec, sys specs.Mount) {
	unmounted(s, "/sys")
	if sys.Destination != "/sys" {
		s.Mounts = append(s.Mounts, tmpfs("/sys"))
	}
	s.Mounts = append(s.Mounts, sys)
	for i := range s.Mounts {
		if s.Mounts[i].Destination == "/dev/pts" {
			s.Mounts[i].Options = []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
		}
	}
	s.Linux.Resources = nil
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "user"}}
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: user, Size: 1}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// asUser runs a bundle as an ordinary user.
func asUser(t *testing.T, e *harness.Env, bundle string) harness.Result {
	t.Helper()
	mkdir(t, e.Root)
	give(t, bundle)
	give(t, e.Root)
	for _, dir := range []string{filepath.Dir(e.Root), filepath.Dir(filepath.Dir(e.Root))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return e.RunWith(func(c *exec.Cmd) {
		c.Env = []string{"PATH=" + os.Getenv("PATH")}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}, "run", "--bundle", bundle, e.ID("c"))
}

// give makes a tree the user's.
func give(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, user, user)
	})
	if err != nil {
		t.Fatal(err)
	}
}
