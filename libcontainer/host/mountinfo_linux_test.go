package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRelative(t *testing.T) {
	for _, c := range []struct {
		name, root, path, want string
		inside                 bool
	}{
		{"a whole hierarchy", "/", "/a/b", "/a/b", true},
		{"the root of a hierarchy", "/", "/", "/", true},
		{"the own cgroup bound", "/docker/x", "/docker/x", "/", true},
		{"below the one bound", "/docker", "/docker/x/y", "/x/y", true},
		{"beside the one bound", "/docker/x", "/docker/y", "/", false},
		{"a name that begins like it", "/docker/x", "/docker/xy", "/", false},
		{"a mount from outside the cgroup namespace", "/../..", "/", "/", false},
		{"a process that left its cgroup namespace", "/", "/../x", "/", false},
		{"a process that left to the namespace's parent", "/", "/..", "/", false},
		{"both outside, with a name", "/..", "/../x", "/x", true},
		{"both outside, without one", "/..", "/../..", "/", false},
		{"both the same place outside", "/..", "/..", "/", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, inside := relative(c.root, c.path)
			if got != c.want || inside != c.inside {
				t.Errorf("relative(%q, %q) = %q, %v", c.root, c.path, got, inside)
			}
		})
	}
}

func TestParseCgroupMounts(t *testing.T) {
	const text = `22 27 0:21 / /proc rw,relatime - proc proc rw
35 31 0:32 /docker/a\134b /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:3 - cgroup cgroup rw,cpuacct,cpu
40 31 0:37 / /mnt/a\040b\011c rw - cgroup none rw,xattr,name=systemd
41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate
42 - cgroup2
not a line
`
	want := []cgroupMount{
		{"35", `/docker/a\b`, "/sys/fs/cgroup/cpu,cpuacct", false, "rw,cpuacct,cpu"},
		{"40", "/", "/mnt/a b\tc", false, "rw,xattr,name=systemd"},
		{"41", "/../..", "/sys/fs/cgroup", true, "rw,nsdelegate"},
	}
	got := parseCgroupMounts(text)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(cgroupMount{})); diff != "" {
		t.Fatal(diff)
	}
	for _, c := range []struct {
		names string
		index int
	}{{"cpu,cpuacct", 0}, {"cpuacct,cpu", 0}, {"name=systemd", 1}, {"", 2}, {"cpu,memory", -1}, {"systemd", -1}} {
		for i := range got {
			if shows := got[i].shows(c.names); shows != (i == c.index) {
				t.Errorf("mount %d shows %q: %v", i, c.names, shows)
			}
		}
	}
}

func TestParseMemberships(t *testing.T) {
	const text = "0::/u\n9:name=systemd:/s:t\n2:cpu,cpuacct:/\nnonsense\n3:half\n"
	want := []membership{{"name=systemd", "/s:t"}, {"cpu,cpuacct", "/"}, {"", "/u"}}
	if diff := cmp.Diff(want, parseMemberships(text), cmp.AllowUnexported(membership{})); diff != "" {
		t.Error(diff)
	}
}

func TestMode(t *testing.T) {
	v1, named, v2 := Hierarchy{Name: "cpu"}, Hierarchy{Name: "systemd", Named: true}, Hierarchy{}
	for _, c := range []struct {
		want CgroupMode
		all  []Hierarchy
	}{
		{CgroupNone, nil},
		{CgroupV1, []Hierarchy{v1}},
		{CgroupV1, []Hierarchy{named}},
		{CgroupHybrid, []Hierarchy{v1, named, v2}},
		{CgroupV2, []Hierarchy{v2}},
		{CgroupV2, []Hierarchy{named, v2}},
	} {
		if got := mode(c.all); got != c.want {
			t.Errorf("%v: %s, want %s", c.all, got, c.want)
		}
	}
}

func TestUnescape(t *testing.T) {
	if got := unescape(`/a\040b\011c\012d\134040`); got != "/a b\tc\nd\\040" {
		t.Errorf("got %q", got)
	}
}
