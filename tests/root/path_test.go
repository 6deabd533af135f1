package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMaskedPaths(t *testing.T) {
	dir := source(t)
	expect(t, `cat /etc/secret /proc/kcore | wc -c; ls /var/dir | wc -l; touch /var/dir/new 2>&1; cat /link
		stat -c '%F' /etc/secret /var/dir`, `
0
0
touch: /var/dir/new: Read-only file system
character special file
directory`, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(dir+"/file", "/etc/secret"), bind(dir, "/var/dir"), bind(dir+"/file", "/link"))
		s.Linux.MaskedPaths = []string{"/proc/kcore", "/etc/secret", "/var/dir", "/not/there", "/etc/passwd/none", "/link"}
	})
}

func TestMaskedPathThroughSymlinkStaysInside(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	write(t, victim, "safe")
	out, _ := inRootfs(t, func(rootfs string) {
		write(t, filepath.Join(rootfs, "var", "secret"), "secret")
		for link, to := range map[string]string{"inside": "/var/secret", "outside": victim} {
			if err := os.Symlink(to, filepath.Join(rootfs, link)); err != nil {
				t.Fatal(err)
			}
		}
	}, "cat /inside /var/secret; echo end", func(s *specs.Spec) {
		s.Linux.MaskedPaths = []string{"/inside", "/outside"}
	})
	equal(t, "output", "end", out)
	equal(t, "the host's file", "safe", read(t, victim))
}

func TestReadonlyPaths(t *testing.T) {
	dir := source(t)
	expect(t, `touch /var/dir/new /var/dir/file /proc/sys/kernel/hostname 2>&1; touch /var/new && echo beside; cat /var/dir/file`, `
touch: /var/dir/new: Read-only file system
touch: /var/dir/file: Read-only file system
touch: /proc/sys/kernel/hostname: Read-only file system
beside
from the host`, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(dir, "/var/dir"))
		s.Linux.ReadonlyPaths = []string{"/proc/sys", "/var/dir", "/not/there"}
	})
}

func TestReadonlyPathKeepsTheFlagsBelow(t *testing.T) {
	harness.NeedRoot(t)
	out := output(t, "cat /proc/self/mountinfo", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec"}},
			specs.Mount{Destination: "/mnt/sub", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec"}})
		s.Linux.ReadonlyPaths = []string{"/mnt"}
	})
	mounts := parseMounts(t, out)
	top, sub := mounts["/mnt"], mounts["/mnt/sub"]
	equal(t, "top", "ro,nosuid,nodev,noexec,relatime", top.options)
	below := "ro,noexec,relatime"
	if harness.KernelBefore(t, 5, 12) {
		below = "rw,noexec,relatime" // a remount is for one mount, docs/kernels.md
	}
	equal(t, "below", below, sub.options)
}

func TestSysctl(t *testing.T) {
	harness.NeedRoot(t)
	before := read(t, "/proc/sys/kernel/shmmax")
	expect(t, "cd /proc/sys; cat kernel/shmmax kernel/msgmax net/ipv4/ip_forward fs/mqueue/msg_max", "65536\n4096\n1\n20", func(s *specs.Spec) {
		s.Linux.Sysctl = map[string]string{
			"kernel.shmmax": "65536", "kernel.msgmax": "4096", "net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "20",
		}
	})
	equal(t, "the host's", before, read(t, "/proc/sys/kernel/shmmax"))
}

func TestSysctlOfTheHostIsRefused(t *testing.T) {
	for key, edit := range map[string]change{
		"kernel.pid_max":      func(*specs.Spec) {},
		"net.ipv4.ip_forward": func(s *specs.Spec) { plain(s, specs.LinuxNamespace{Type: specs.MountNamespace}) },
		"vm.swappiness":       func(*specs.Spec) {},
	} {
		t.Run(key, func(t *testing.T) {
			refuse(t, func(s *specs.Spec) {
				edit(s)
				s.Linux.Sysctl = map[string]string{key: "1"}
			}, "sysctl", key)
		})
	}
}

func TestSysctlThatDoesNotExist(t *testing.T) {
	refuse(t, func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.none": "1"} }, "linux.sysctl[net.none]", "no such file or directory")
}

func TestNames(t *testing.T) {
	harness.NeedRoot(t)
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "hostname; cat /proc/sys/kernel/domainname", "web.example\ninside", func(s *specs.Spec) {
		s.Hostname, s.Domainname = "web.example", "inside"
	})
	after, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the host's name", before, after)
}

func TestNamesWithoutTheirNamespace(t *testing.T) {
	without := func(s *specs.Spec) {
		var list []specs.LinuxNamespace
		for _, ns := range s.Linux.Namespaces {
			if ns.Type != specs.UTSNamespace {
				list = append(list, ns)
			}
		}
		s.Linux.Namespaces, s.Hostname = list, ""
	}
	t.Run("hostname", func(t *testing.T) {
		refuse(t, func(s *specs.Spec) { without(s); s.Hostname = "x" }, "hostname")
	})
	t.Run("domainname", func(t *testing.T) {
		refuse(t, func(s *specs.Spec) { without(s); s.Domainname = "x" }, "domainname")
	})
	t.Run("neither", func(t *testing.T) {
		name, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "hostname", strings.TrimSpace(name), without)
	})
}
