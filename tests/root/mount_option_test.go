package root_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// What mountinfo shows of the tree with none of the attributes, with all, and with those that
// are left of all after any option.
const none, all, bare = "rw,relatime", "ro,nosuid,nodev,noexec,noatime,nodiratime", "rw,noatime,nodiratime"

// plainAttributes are the options that have a recursive counterpart, with an r in front.
const plainAttributes = "ro|rw|(no)?(suid|dev|exec|atime|diratime|strictatime|relatime|symfollow)"

// treeOptions are options of a recursive bind mount, and the attributes that follow of the
// top and of the mount below.
var treeOptions = []struct {
	source            uintptr
	options, top, sub string
}{
	{noFlags, "defaults", none, none},
	{noFlags, "ro", "ro,relatime", none},
	{noFlags, "nosuid", "rw,nosuid,relatime", none},
	{noFlags, "nodev", "rw,nodev,relatime", none},
	{noFlags, "noexec", "rw,noexec,relatime", none},
	{noFlags, "nodiratime", "rw,nodiratime,relatime", none},
	{noFlags, "noatime", "rw,noatime", none},
	{noFlags, "strictatime", "rw", none},
	{noFlags, "relatime", "rw,relatime", none},
	{noFlags, "nosymfollow", "rw,relatime,nosymfollow", none},
	{noFlags, "ro,nosuid", "ro,nosuid,relatime", none},
	{noFlags, "ro,rw", none, none},
	{noFlags, "strictatime,nostrictatime", none, none},
	{noFlags, "relatime,norelatime", none, none},
	// Any option means exactly the named ones, as in runc, but for access times.
	{allFlags, "defaults", all, all},
	{allFlags, "rw", bare, all},
	{allFlags, "suid", bare, all},
	{allFlags, "dev", bare, all},
	{allFlags, "exec", bare, all},
	{allFlags, "diratime", bare, all},
	{allFlags, "atime", bare, all},
	{allFlags, "async", bare, all},
	{allFlags, "noexec", "rw,noexec,noatime,nodiratime", all},
	{allFlags, "noatime", "rw,noatime", all},
	{allFlags, "nodiratime", "rw,nodiratime,relatime", all},
	{allFlags, "strictatime", "rw", all},
	{allFlags, "nosymfollow,symfollow", bare, all},
	{noFlags, "rro", "ro,relatime", "ro,relatime"},
	{noFlags, "rnosuid", "rw,nosuid,relatime", "rw,nosuid,relatime"},
	{noFlags, "rnodev", "rw,nodev,relatime", "rw,nodev,relatime"},
	{noFlags, "rnoexec", "rw,noexec,relatime", "rw,noexec,relatime"},
	{noFlags, "rnodiratime", "rw,nodiratime,relatime", "rw,nodiratime,relatime"},
	{noFlags, "rnoatime", "rw,noatime", "rw,noatime"},
	{noFlags, "rstrictatime", "rw", "rw"},
	{noFlags, "rrelatime", none, none},
	{noFlags, "rnosymfollow", "rw,relatime,nosymfollow", "rw,relatime,nosymfollow"},
	{noFlags, "rro,rnosuid,rnodev,rnoexec", "ro,nosuid,nodev,noexec,relatime", "ro,nosuid,nodev,noexec,relatime"},
	{noFlags, "rstrictatime,rnostrictatime", none, none},
	{noFlags, "rrelatime,rnorelatime", none, none},
	{allFlags, "rrw", "rw,nosuid,nodev,noexec,noatime,nodiratime", "rw,nosuid,nodev,noexec,noatime,nodiratime"},
	{allFlags, "rsuid", "ro,nodev,noexec,noatime,nodiratime", "ro,nodev,noexec,noatime,nodiratime"},
	{allFlags, "rdev", "ro,nosuid,noexec,noatime,nodiratime", "ro,nosuid,noexec,noatime,nodiratime"},
	{allFlags, "rexec", "ro,nosuid,nodev,noatime,nodiratime", "ro,nosuid,nodev,noatime,nodiratime"},
	{allFlags, "rdiratime", "ro,nosuid,nodev,noexec,noatime", "ro,nosuid,nodev,noexec,noatime"},
	{allFlags, "ratime", "ro,nosuid,nodev,noexec,nodiratime,relatime", "ro,nosuid,nodev,noexec,nodiratime,relatime"},
	{allFlags, "rnosymfollow,rsymfollow", all, all},
}

// TestEveryMountOptionOfTheSpecHasARow reads the spec's table: each name is in one of the
// tables here, or has a test of its own.
func TestEveryMountOptionOfTheSpecHasARow(t *testing.T) {
	covered := map[string]bool{
		"bind": true, "rbind": true, // TestBindIsNotRecursiveByItself
		"remount": true,                 // TestRemount
		"idmap":   true, "ridmap": true, // TestIDMappedMount
		"tmpcopyup": true, // TestTmpcopyup
	}
	for _, o := range treeOptions {
		for name := range strings.SplitSeq(o.options, ",") {
			covered[name] = true
		}
	}
	for _, o := range fileSystemOptions {
		for name := range strings.SplitSeq(o.options, ",") {
			covered[name] = true
		}
	}
	for name := range propagationOptions {
		covered[name] = true
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Skipf("needs the spec in the module cache: %v", err)
	}
	_, table, _ := strings.Cut(read(t, filepath.Join(strings.TrimSpace(string(dir)), "config.md")), "### <a name=\"configLinuxMountOptions\"")
	names := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "[^1]:") {
			break
		}
		if name, ok := strings.CutPrefix(line, " `"); ok {
			names++
			if name, _, _ = strings.Cut(name, "`"); !covered[strings.TrimSpace(name)] {
				t.Errorf("%s has no row", name)
			}
		}
	}
	if names < 60 {
		t.Errorf("only %d names found in the table", names)
	}
}

// TestBindMountOption binds a tree of two mounts and looks at the attributes of both. The
// tree has none of the attributes or all of them.
func TestBindMountOption(t *testing.T) {
	harness.NeedRoot(t)
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
	recursive := regexp.MustCompile("(^|,)r(" + plainAttributes + ")(,|$)")
	for _, o := range treeOptions {
		if recursive.MatchString(o.options) && harness.KernelBefore(t, 5, 12) {
			refuse(t, withMounts(specs.Mount{
				Source: sources[o.source], Destination: "/mnt", Options: append([]string{"rbind"}, strings.Split(o.options, ",")...),
			}), "mounts[7].options[1]", "needs Linux 5.12")
			continue
		}
		at := fmt.Sprintf("/mnt/%d+%s", o.source, strings.ReplaceAll(o.options, ",", "+"))
		mounts = append(mounts, specs.Mount{Source: sources[o.source], Destination: at, Options: append([]string{"rbind"}, strings.Split(o.options, ",")...)})
		want = append(want, o.options+": "+o.top+" and "+o.sub)
	}
	seen := parseMounts(t, output(t, "cat /proc/self/mountinfo", withMounts(mounts...)))
	for i := range mounts {
		at := mounts[i].Destination
		got = append(got, strings.Join(mounts[i].Options[1:], ",")+": "+seen[at].options+" and "+seen[at+"/sub"].options)
	}
	equal(t, "attributes of the top and of the mount below", want, got)
}

// fileSystemOptions are options of a tmpfs, and what mountinfo shows of the mount and of
// the file system.
var fileSystemOptions = []struct{ options, mount, super string }{
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
}

// TestFileSystemOption mounts a tmpfs with each option.
func TestFileSystemOption(t *testing.T) {
	for _, tc := range fileSystemOptions {
		t.Run("options "+tc.options, func(t *testing.T) {
			if tc.options == "rnosuid" {
				harness.NeedKernel(t, 5, 12)
			}
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

// propagationOptions say of what type the top and the mount below become. The mount
// namespace is a slave of the host's, so what is neither made shared nor cut off still
// receives.
var propagationOptions = map[string][2]string{
	"private": {"", "master"}, "slave": {"master", "master"}, "shared": {"shared master", "master"}, "unbindable": {"unbindable", "master"},
	"rprivate": {"", ""}, "rslave": {"master", "master"}, "rshared": {"shared master", "shared master"}, "runbindable": {"unbindable", "unbindable"},
}

func TestPropagationOption(t *testing.T) {
	harness.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "top")
	tmpfs(t, dir, noFlags, unix.MS_SHARED)
	tmpfs(t, filepath.Join(dir, "sub"), noFlags, unix.MS_SHARED)
	got := make(map[string][2]string)
	var mounts []specs.Mount
	for option := range propagationOptions {
		mounts = append(mounts, specs.Mount{Source: dir, Destination: "/mnt/" + option, Options: []string{"rbind", option}})
	}
	seen := parseMounts(t, output(t, "cat /proc/self/mountinfo", withMounts(mounts...)))
	for option := range propagationOptions {
		top, sub := seen["/mnt/"+option], seen["/mnt/"+option+"/sub"]
		got[option] = [2]string{top.propagation(), sub.propagation()}
	}
	equal(t, "propagation of the top and of the mount below", propagationOptions, got)
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
	harness.NeedKernel(t, 5, 12) // before, rro is refused
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

func TestUnknownMountOption(t *testing.T) {
	refuse(t, withMounts(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"nonsense"}}),
		"mounts[7]", "invalid argument")
}

// A tmpfs without a mode has that of the directory it covers, and says so, as with a mode of
// its own; where there was no directory it has the file system's default.
func TestTmpfsTakesTheModeOfItsDirectory(t *testing.T) {
	harness.NeedRoot(t)
	for _, c := range []struct {
		name, options, want string
		mode                os.FileMode // of the directory; 0 for none
	}{
		{"of its own", "mode=1500", "1500 mode=1500", 0o710},
		{"of the directory", "", "710 mode=710", 0o710},
		{"of the directory, beside other options", "ro,size=4k,nr_inodes=9", "710 mode=710", 0o710},
		{"of the directory, sticky", "", "1770 mode=1770", 0o770 | os.ModeSticky},
		{"of none", "", "1777", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := `echo $(stat -c %a /covered) $(grep ' /covered ' /proc/self/mounts | tr , '\n' | grep -o 'mode=[0-7]*')`
			out, _ := inRootfs(t, func(rootfs string) {
				dir := filepath.Join(rootfs, "covered")
				if c.mode == 0 {
					return
				}
				if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, c.mode)); err != nil {
					t.Fatal(err)
				}
			}, script, func(s *specs.Spec) {
				m := specs.Mount{Destination: "/covered", Type: "tmpfs", Source: "tmpfs"}
				if c.options != "" {
					m.Options = strings.Split(c.options, ",")
				}
				s.Mounts = append(s.Mounts, m)
			})
			equal(t, "mode, and what mounts says", c.want, out)
		})
	}
}
