package root_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

const mappedRoot = 100000

// mapped gives a container a user namespace in which ids are shifted.
func mapped(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	mapIDs(s, specs.LinuxIDMapping{ContainerID: 0, HostID: mappedRoot, Size: 65536})
}

func TestUserNamespaceMapsIDs(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		mapped(s)
		s.Process.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9, 10}}
	})
	equal(t, "uid_map", "0 100000 65536", strings.Join(strings.Fields(proc(t, c.pid, "uid_map")), " "))
	equal(t, "gid_map", "0 100000 65536", strings.Join(strings.Fields(proc(t, c.pid, "gid_map")), " "))
	equal(t, "setgroups", "allow", proc(t, c.pid, "setgroups"))
	equal(t, "Uid", "100007 100007 100007 100007", status(t, c.pid, "Uid"))
	equal(t, "Gid", "100008 100008 100008 100008", status(t, c.pid, "Gid"))
	equal(t, "Groups", "100009 100010", status(t, c.pid, "Groups"))
	equal(t, "exec as the container's user", "7", c.exec("id -u"))
	equal(t, "exec as another user, with the container's further groups", "3 4 5 9 10", c.exec("echo $(id -u) $(id -G)", "-u", "3:4", "-g", "5"))
}

func TestUserNamespaceWritesToItsRootfs(t *testing.T) {
	harness.NeedRoot(t)
	e := harness.New(t)
	bundle := e.Bundle("echo hello >/file; mkdir /dir; stat -c '%u %g' /file /bin/busybox", mapped)
	rootfs := filepath.Join(bundle, "rootfs")
	for _, name := range []string{"", "bin", "bin/busybox"} {
		if err := os.Chown(filepath.Join(rootfs, name), mappedRoot, mappedRoot); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "owners inside", "0 0\n0 0\n", e.MustRun("run", "-b", bundle, e.ID("c")))
	for _, name := range []string{"file", "dir"} {
		equal(t, "owner of "+name+" on the host", mappedRoot, ownerOf(t, filepath.Join(rootfs, name)))
	}
}

func ownerOf(t *testing.T, file string) int {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func TestUserNamespaceBindsWhatItsRootCannotReach(t *testing.T) {
	harness.NeedRoot(t)
	private := filepath.Join(t.TempDir(), "private")
	write(t, filepath.Join(private, "dir", "file"), "content\n")
	write(t, filepath.Join(private, "one"), "single\n")
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	expect(t, "cat /run/dir/file /run/one; touch /run/dir/new 2>&1 || true", `
content
single
touch: /run/dir/new: Read-only file system`, func(s *specs.Spec) {
		mapped(s)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs"},
			bind(filepath.Join(private, "dir"), "/run/dir", "ro"), bind(filepath.Join(private, "one"), "/run/one"))
	})
}

func TestUserNamespaceHasItsDevices(t *testing.T) {
	// They are the host's, bound: nobody makes nodes in a user namespace.
	expect(t, "echo lost >/dev/null; head -c 3 /dev/zero | od -An -tx1; stat -c '%n %F %t:%T' /dev/null /dev/tty", `
 00 00 00
/dev/null character special file 1:3
/dev/tty character special file 5:0`, mapped)
}

func TestUserNamespaceIsPrivilegedInside(t *testing.T) {
	c := start(t, func(s *specs.Spec) {
		mapped(s)
		grant(s, "CAP_SYS_ADMIN")
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		s.Process.OOMScoreAdj = new(500)
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
	})
	equal(t, "hostname", "renamed", c.exec("hostname renamed; hostname"))
	equal(t, "sysctl", "1", c.exec("cat /proc/sys/net/ipv4/ip_forward"))
	equal(t, "oom_score_adj", "500", proc(t, c.pid, "oom_score_adj"))
	equal(t, "limits", true, strings.Contains(strings.Join(strings.Fields(proc(t, c.pid, "limits")), " "), "Max open files 100 200"))
	r := c.Run("exec", c.id, "sh", "-c", fmt.Sprintf("echo 1 >/proc/sys/kernel/pid_max || mknod /tmp/sda b 8 0 || cat /proc/%d/environ", os.Getpid()))
	if r.Code == 0 {
		t.Error("root of the user namespace has a right of the host's root")
	}
}
