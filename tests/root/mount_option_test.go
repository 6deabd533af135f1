package root_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

const (
	noFlags  = 0
	allFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NODIRATIME | unix.MS_NOATIME
)

// TestBindMountOption binds a tree of two mounts and looks at the attributes of both. The
// tree has none of the attributes or all of them.
func TestBindMountOption(t *testing.T) {
	harness.NeedRoot(t)
	const none, all = "rw,relatime", "ro,nosuid,nodev,noexec,noatime,nodiratime"
	var mounts []specs.Mount
	var want, got []string
	sources := map[uintptr]string{}
	for _, flags := range []uintptr{noFlags, allFlags} {
		dir := filepath.Join(t.TempDir(), "top")
		tmpfs(t, dir, noFlags, unix.MS_PRIVATE)
		tmpfs(t, filepath.Join(dir, "sub"), flags, unix.MS_PRIVATE)
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
		sources[flags] = dir
	}
	add := func(source uintptr, options, top, sub string) {
		at := "/mnt/" + strings.ReplaceAll(options, ",", "+")
		mounts = append(mounts, specs.Mount{Source: sources[source], Destination: at, Options: append([]string{"rbind"}, strings.Split(options, ",")...)})
		want = append(want, options+": "+top+" and "+sub)
	}
	for options, attribute := range map[string]string{
		"ro": "ro,relatime", "nosuid": "rw,nosuid,relatime", "nodev": "rw,nodev,relatime", "noexec": "rw,noexec,relatime",
		"nodiratime": "rw,nodiratime,relatime", "noatime": "rw,noatime", "strictatime": "rw", "relatime": "rw,relatime",
		"nosymfollow": "rw,relatime,nosymfollow", "ro,nosuid": "ro,nosuid,relatime", "ro,rw": none,
	} {
		add(noFlags, options, attribute, none)
	}
	for options, attribute := range map[string]string{
		"rw": "rw,nosuid,nodev,noexec,noatime,nodiratime", "suid": "ro,nodev,noexec,noatime,nodiratime",
		"dev": "ro,nosuid,noexec,noatime,nodiratime", "exec": "ro,nosuid,nodev,noatime,nodiratime",
		"diratime": "ro,nosuid,nodev,noexec,noatime", "atime": "ro,nosuid,nodev,noexec,nodiratime,relatime",
		"nosymfollow,symfollow": all,
	} {
		add(allFlags, options, attribute, all)
	}
	for options, attribute := range map[string]string{
		"rro": "ro,relatime", "rnosuid": "rw,nosuid,relatime", "rnodev": "rw,nodev,relatime", "rnoexec": "rw,noexec,relatime",
		"rnodiratime": "rw,nodiratime,relatime", "rnoatime": "rw,noatime", "rstrictatime": "rw", "rrelatime": none,
		"rnosymfollow": "rw,relatime,nosymfollow", "rro,rnosuid,rnodev,rnoexec": "ro,nosuid,nodev,noexec,relatime",
	} {
		add(noFlags, options, attribute, attribute)
	}
	for options, attribute := range map[string]string{
		"rrw": "rw,nosuid,nodev,noexec,noatime,nodiratime", "rsuid": "ro,nodev,noexec,noatime,nodiratime",
		"rdev": "ro,nosuid,noexec,noatime,nodiratime", "rexec": "ro,nosuid,nodev,noatime,nodiratime",
		"rdiratime": "ro,nosuid,nodev,noexec,noatime", "ratime": "ro,nosuid,nodev,noexec,nodiratime,relatime",
		"rnosymfollow,rsymfollow": all,
	} {
		add(allFlags, options, attribute, attribute)
	}
	seen := parseMounts(t, output(t, "cat /proc/self/mountinfo", withMounts(mounts...)))
	for i := range mounts {
		at := mounts[i].Destination
		got = append(got, strings.Join(mounts[i].Options[1:], ",")+": "+seen[at].options+" and "+seen[at+"/sub"].options)
	}
	equal(t, "attributes of the top and of the mount below", want, got)
}

// TestFileSystemOption mounts a tmpfs with each option.
func TestFileSystemOption(t *testing.T) {
	for _, tc := range []struct{ options, mount, super string }{
		{"", "rw,relatime", "rw"},
		{"defaults", "rw,relatime", "rw"},
		{"ro,mode=755", "ro,relatime", "ro,mode=755"},
		{"ro", "ro,relatime", "rw"},
		{"sync", "rw,relatime", "rw,sync"},
		{"sync,async", "rw,relatime", "rw"},
		{"dirsync", "rw,relatime", "rw,dirsync"},
		{"lazytime", "rw,relatime", "rw,lazytime"},
		{"lazytime,nolazytime", "rw,relatime", "rw"},
		{"mand,nomand,iversion,noiversion,silent,loud", "rw,relatime", "rw"},
		{"nosuid,nodev,noexec", "rw,nosuid,nodev,noexec,relatime", "rw"},
		{"noatime", "rw,noatime", "rw"},
		{"strictatime", "rw", "rw"},
		{"strictatime,nostrictatime", "rw,relatime", "rw"},
		{"rnosuid", "rw,nosuid,relatime", "rw"},
		{"size=64k,nr_inodes=10,mode=700", "rw,relatime", "rw,size=64k,nr_inodes=10,mode=700"},
	} {
		t.Run("options "+tc.options, func(t *testing.T) {
			out := output(t, "cat /proc/self/mountinfo", func(s *specs.Spec) {
				m := specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs"}
				if tc.options != "" {
					m.Options = strings.Split(tc.options, ",")
				}
				s.Mounts = append(s.Mounts, m)
			})
			m := parseMounts(t, out)["/mnt"]
			equal(t, "attributes", tc.mount, m.options)
			if !slices.Contains([]string{tc.super, tc.super + ",inode64"}, m.super) {
				t.Errorf("file system options %q, want %q", m.super, tc.super)
			}
		})
	}
}

func TestPropagationOption(t *testing.T) {
	harness.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "top")
	tmpfs(t, dir, noFlags, unix.MS_SHARED)
	tmpfs(t, filepath.Join(dir, "sub"), noFlags, unix.MS_SHARED)
	// The mount namespace is a slave of the host's, so what is neither made shared nor
	// cut off still receives.
	want := map[string][2]string{
		"private": {"", "master"}, "slave": {"master", "master"}, "shared": {"shared master", "master"}, "unbindable": {"unbindable", "master"},
		"rprivate": {"", ""}, "rslave": {"master", "master"}, "rshared": {"shared master", "shared master"}, "runbindable": {"unbindable", "unbindable"},
	}
	got := make(map[string][2]string)
	var mounts []specs.Mount
	for option := range want {
		mounts = append(mounts, specs.Mount{Source: dir, Destination: "/mnt/" + option, Options: []string{"rbind", option}})
	}
	seen := parseMounts(t, output(t, "cat /proc/self/mountinfo", withMounts(mounts...)))
	for option := range want {
		top, sub := seen["/mnt/"+option], seen["/mnt/"+option+"/sub"]
		got[option] = [2]string{top.propagation(), sub.propagation()}
	}
	equal(t, "propagation of the top and of the mount below", want, got)
}

func TestBindIsNotRecursiveByItself(t *testing.T) {
	harness.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "top")
	tmpfs(t, dir, noFlags, unix.MS_PRIVATE)
	tmpfs(t, filepath.Join(dir, "sub"), noFlags, unix.MS_PRIVATE)
	write(t, filepath.Join(dir, "sub", "file"), "")
	expect(t, "ls /plain/sub; echo and; ls /recursive/sub", "and\nfile", withMounts(
		bind(dir, "/plain"), specs.Mount{Source: dir, Destination: "/recursive", Options: []string{"rbind"}}))
}

func TestRecursiveReadonlyIsReadonlyToTheBottom(t *testing.T) {
	harness.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "top")
	tmpfs(t, dir, noFlags, unix.MS_PRIVATE)
	tmpfs(t, filepath.Join(dir, "sub"), noFlags, unix.MS_PRIVATE)
	script := "for d in /ro /ro/sub /rro /rro/sub; do touch $d/new 2>/dev/null && echo $d writable; done; true"
	expect(t, script, "/ro/sub writable", withMounts(
		specs.Mount{Source: dir, Destination: "/ro", Options: []string{"rbind", "ro"}},
		specs.Mount{Source: dir, Destination: "/rro", Options: []string{"rbind", "rro"}}))
	if err := os.WriteFile(filepath.Join(dir, "by-host"), nil, 0o600); err != nil {
		t.Errorf("the host's own mount became read-only: %v", err)
	}
}

func TestRemount(t *testing.T) {
	harness.NeedRoot(t)
	out := output(t, "cat /proc/self/mountinfo", withMounts(
		specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid"}},
		specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"remount", "bind", "ro"}}))
	m := parseMounts(t, out)["/mnt"]
	equal(t, "ro", true, m.has("ro"))
}

func TestUnsupportedMountOption(t *testing.T) {
	for _, option := range []string{"tmpcopyup", "idmap", "ridmap"} {
		t.Run(option, func(t *testing.T) {
			refuse(t, withMounts(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{option}}),
				"mounts[7]", strings.TrimPrefix(option, "r"))
		})
	}
}

func TestUnknownMountOption(t *testing.T) {
	refuse(t, withMounts(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"nonsense"}}),
		"mounts[7]", "invalid argument")
}
