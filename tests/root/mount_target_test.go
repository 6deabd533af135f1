package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// source makes a directory of the host with a file in it.
func source(t *testing.T) string {
	t.Helper()
	harness.NeedRoot(t)
	dir := t.TempDir()
	harness.Reachable(t, dir)
	write(t, filepath.Join(dir, "file"), "from the host\n")
	return dir
}

// inRootfs runs a container after its rootfs was prepared.
func inRootfs(t *testing.T, prepare func(rootfs string), script string, edit change) (out, rootfs string) {
	t.Helper()
	e := harness.New(t)
	bundle := e.Bundle(script, edit)
	rootfs = filepath.Join(bundle, "rootfs")
	prepare(rootfs)
	return strings.TrimSpace(e.MustRun("run", "-b", bundle, e.ID("c"))), rootfs
}

func TestBindTarget(t *testing.T) {
	dir := source(t)
	for _, tc := range []struct {
		name, script, want string
		mount              specs.Mount
	}{
		{"of a directory", "cat /var/file", "from the host", bind(dir, "/var")},
		{"of a file", "cat /etc/group", "from the host", bind(dir+"/file", "/etc/group")},
		{"of a directory to nowhere", "cat /new/deep/down/file; stat -c %a /new/deep", "from the host\n755", bind(dir, "/new/deep/down")},
		{"of a file to nowhere", "cat /new/deep/file; stat -c '%F %a' /new/deep", "from the host\ndirectory 755", bind(dir+"/file", "/new/deep/file")},
		{"without a type", "cat /var/file", "from the host", specs.Mount{Source: dir, Destination: "/var", Options: []string{"bind"}}},
		{"by type alone", "cat /var/file", "from the host", specs.Mount{Source: dir, Destination: "/var", Type: "bind"}},
		{"to a path with dots", "cat /var/file", "from the host", bind(dir, "/tmp/../var/./")},
		{"that climbs out of the root", "cat /var/file", "from the host", bind(dir, "/../../var")},
	} {
		t.Run(tc.name, func(t *testing.T) { expect(t, tc.script, tc.want, withMounts(tc.mount)) })
	}
}

func TestRelativeBindSourceStartsAtTheBundle(t *testing.T) {
	out, _ := inRootfs(t, func(rootfs string) { write(t, filepath.Join(rootfs, "..", "data", "file"), "beside config.json\n") },
		"cat /mnt/file", withMounts(bind("data", "/mnt")))
	equal(t, "content", "beside config.json", out)
}

func TestNestedMountsAreMadeInOrder(t *testing.T) {
	dir := source(t)
	expect(t, "cat /a/b/c/file; ls /a; ls /a/b", "from the host\nb\nc", withMounts(
		specs.Mount{Destination: "/a", Type: "tmpfs", Source: "tmpfs"},
		specs.Mount{Destination: "/a/b", Type: "tmpfs", Source: "tmpfs"},
		bind(dir, "/a/b/c")))
}

func TestMountTargetThroughSymlink(t *testing.T) {
	dir := source(t)
	outside := t.TempDir()
	for _, tc := range []struct{ name, link, to, target, seen string }{
		{"absolute, to a directory", "link", "/var", "/link", "/var/file"},
		{"absolute, on the way", "link", "/var", "/link/lib", "/var/lib/file"},
		{"relative, climbing out", "link", "../../../../var", "/link", "/var/file"},
		{"absolute, to a directory that only the host has", "link", outside, "/link/deep", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle("cat "+tc.seen, withMounts(bind(dir, tc.target)))
			if err := os.Symlink(tc.to, filepath.Join(bundle, "rootfs", tc.link)); err != nil {
				t.Fatal(err)
			}
			r := e.Run("run", "-b", bundle, e.ID("c"))
			if tc.seen != "" {
				equal(t, "content", "from the host\n", r.Stdout)
			}
			left, err := os.ReadDir(outside)
			if err != nil || len(left) > 0 {
				t.Errorf("the host's directory has %v, %v", left, err)
			}
		})
	}
}

// Images have such links, /etc/resolv.conf for one: what they point to is made, inside.
func TestMountTargetIsADanglingSymlink(t *testing.T) {
	dir := source(t)
	out, rootfs := inRootfs(t, func(rootfs string) {
		for link, to := range map[string]string{"dir": "/new/dir", "file": "../../../new/file"} {
			if err := os.Symlink(to, filepath.Join(rootfs, link)); err != nil {
				t.Fatal(err)
			}
		}
	}, "cat /new/dir/file /new/file", withMounts(bind(dir, "/dir"), bind(dir+"/file", "/file")))
	equal(t, "content", "from the host\nfrom the host", out)
	if _, err := os.Stat(filepath.Join(rootfs, "new", "file")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat("/new"); err == nil {
		t.Error("/new was made on the host")
	}
}

func TestMountThatFails(t *testing.T) {
	dir := source(t)
	for _, tc := range []struct {
		name  string
		mount specs.Mount
		errno string
	}{
		{"source missing", bind(dir+"/none", "/mnt"), "no such file or directory"},
		{"directory on a file", bind(dir, "/etc/passwd"), "not a directory"},
		{"file on a directory", bind(dir+"/file", "/var"), "not a directory"},
		{"unknown file system", specs.Mount{Destination: "/mnt", Type: "nosuchfs", Source: "none"}, "no such device"},
		{"bad data", specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=x"}}, "invalid argument"},
	} {
		t.Run(tc.name, func(t *testing.T) { refuse(t, withMounts(tc.mount), "mounts[7]", tc.errno) })
	}
}

func TestTmpfsMode(t *testing.T) {
	mount := withMounts(specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs"})
	mode := "stat -c %a /scratch"
	t.Run("is that of the directory it covers", func(t *testing.T) {
		out, _ := inRootfs(t, func(rootfs string) {
			dir := filepath.Join(rootfs, "scratch")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o750|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}, mode, mount)
		equal(t, "mode", "2750", out)
	})
	t.Run("is 1777 where there was none", func(t *testing.T) { expect(t, mode, "1777", mount) })
	t.Run("is what the options say", func(t *testing.T) {
		expect(t, mode, "701", withMounts(specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "mode=701"}}))
	})
}

func TestDefaultMounts(t *testing.T) {
	harness.NeedRoot(t)
	mounts := parseMounts(t, output(t, "cat /proc/self/mountinfo", nil))
	got := make(map[string]string)
	for _, point := range []string{"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"} {
		m := mounts[point]
		got[point] = m.fstype + " " + m.options
	}
	equal(t, "mounts", map[string]string{
		"/proc":       "proc rw,relatime",
		"/dev":        "tmpfs rw,nosuid",
		"/dev/pts":    "devpts rw,nosuid,noexec,relatime",
		"/dev/shm":    "tmpfs rw,nosuid,nodev,noexec,relatime",
		"/dev/mqueue": "mqueue rw,nosuid,nodev,noexec,relatime",
		"/sys":        "sysfs ro,nosuid,nodev,noexec,relatime",
	}, got)
	if m := mounts["/dev/pts"]; m.super != "rw,gid=5,mode=620,ptmxmode=666" {
		t.Errorf("devpts has %q", m.super)
	}
	equal(t, "size of /dev", "rw,size=65536k,mode=755", strings.TrimSuffix(mounts["/dev"].super, ",inode64"))
}

func TestCgroupMount(t *testing.T) {
	harness.NeedRoot(t)
	at := func(options ...string) change {
		return withMounts(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: options})
	}
	if harness.CgroupV2.Probe() == nil {
		// cgroup.type is in every cgroup but the machine's root.
		const script = `cd /sys/fs/cgroup; [ -e cgroup.type ] || echo all; grep -x $$ cgroup.procs; mkdir sub 2>/dev/null && echo writable && rmdir sub; true`
		t.Run("read-only shows the container's own", func(t *testing.T) { expect(t, script, "1", at("ro", "nosuid")) })
		t.Run("writable", func(t *testing.T) { expect(t, script, "1\nwritable", at("nosuid")) })
		t.Run("without a cgroup namespace", func(t *testing.T) { // as in runc
			expect(t, script, "all", func(s *specs.Spec) { at("ro")(s); dropNamespace(s, specs.CgroupNamespace) })
		})
		return
	}
	const script = `cd /sys/fs/cgroup
	grep -c . memory/cgroup.procs
	grep -qx $$ pids/cgroup.procs && echo own
	mkdir memory/sub 2>/dev/null && echo writable && rmdir memory/sub
	mkdir sub 2>/dev/null && echo and above; true`
	t.Run("read-only shows the container's own", func(t *testing.T) { expect(t, script, "2\nown", at("ro", "nosuid")) })
	t.Run("writable", func(t *testing.T) { expect(t, script, "2\nown\nwritable\nand above", at("nosuid", "mode=755")) })
}

func TestReadonlyDev(t *testing.T) {
	expect(t, "echo lost >/dev/null && ls /dev/full && touch /dev/new 2>&1 || true",
		"/dev/full\ntouch: /dev/new: Read-only file system", func(s *specs.Spec) {
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/dev" {
					s.Mounts[i].Options = append(s.Mounts[i].Options, "ro")
				}
			}
		})
}
