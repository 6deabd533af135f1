package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	mountsV1 = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
`
	mountsV2 = `31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
`
	// As a container on v1 has them: a part of each hierarchy.
	mountsNested = `35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:32 /docker/abc/other /elsewhere rw - cgroup cgroup rw,memory
`
)

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name, cgroups, mounts string
		want                  Cgroup
	}{
		{
			"v1, hybrid", "5:memory:/foo/bar\n4:cpuset:/foo\n3:cpu,cpuacct:/foo/bar\n1:name=systemd:/foo/bar\n0::/foo/bar\n", mountsV1,
			Cgroup{controllers: []v1Dir{
				{"memory", "/sys/fs/cgroup/memory/foo/bar"},
				{"cpu", "/sys/fs/cgroup/cpu,cpuacct/foo/bar"},
				{"cpuacct", "/sys/fs/cgroup/cpu,cpuacct/foo/bar"},
			}},
		},
		{"v2", "0::/system.slice/x.scope\n", mountsV2, Cgroup{unified: "/sys/fs/cgroup/system.slice/x.scope"}},
		{"the root", "0::/\n", mountsV2, Cgroup{unified: "/sys/fs/cgroup"}},
		{"a colon in the name", "0::/kubepods/cri:x:1\n", mountsV2, Cgroup{unified: "/sys/fs/cgroup/kubepods/cri:x:1"}},
		{"removed", "0::/gone (deleted)\n", mountsV2, Cgroup{unified: "/sys/fs/cgroup/gone"}},
		{
			"a net_cls of v1 beside v2", "7:net_cls:/vpn\n0::/foo\n", mountsV2 + "50 31 0:40 / /run/vpn rw - cgroup net_cls rw,net_cls\n",
			Cgroup{unified: "/sys/fs/cgroup/foo"},
		},
		{"named only, beside v2", "1:name=systemd:/foo\n0::/foo\n", mountsV1, Cgroup{unified: "/sys/fs/cgroup/unified/foo"}},
		{"below the mounted part", "5:memory:/docker/abc/foo\n", mountsNested, Cgroup{controllers: []v1Dir{{"memory", "/sys/fs/cgroup/memory/foo"}}}},
		{"the mounted part itself", "5:memory:/docker/abc\n", mountsNested, Cgroup{controllers: []v1Dir{{"memory", "/sys/fs/cgroup/memory"}}}},
		{"garbage between", "x\n\n5:\n:::\n0::/foo", mountsV2, Cgroup{unified: "/sys/fs/cgroup/foo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := find(write(t, "cgroup", c.cgroups), write(t, "mountinfo", c.mounts))
			check(t, err)
			if diff := cmp.Diff(c.want, *got, cmp.AllowUnexported(Cgroup{}, v1Dir{})); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	for name, c := range map[string][2]string{
		"no hierarchy mounted":     {"0::/foo\n", "31 23 0:28 / / rw - ext4 /dev/vda rw\n"},
		"another part mounted":     {"5:memory:/docker/abcdef\n", mountsNested},
		"outside of the namespace": {"5:memory:/../host\n", mountsNested},
		"no lines":                 {"", mountsV2},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := find(write(t, "cgroup", c[0]), write(t, "mountinfo", c[1]))
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v, error %v", got, err)
			}
		})
	}
}

func TestParent(t *testing.T) {
	for _, c := range []struct{ of, want Cgroup }{
		{Cgroup{unified: "/sys/fs/cgroup/pods/a"}, Cgroup{unified: "/sys/fs/cgroup/pods"}},
		{
			Cgroup{controllers: []v1Dir{{"cpu", "/sys/fs/cgroup/cpu,cpuacct/pods/a"}, {"memory", "/sys/fs/cgroup/memory/pods/a"}}},
			Cgroup{controllers: []v1Dir{{"cpu", "/sys/fs/cgroup/cpu,cpuacct/pods"}, {"memory", "/sys/fs/cgroup/memory/pods"}}},
		},
	} {
		if diff := cmp.Diff(c.want, *c.of.Parent(), cmp.AllowUnexported(Cgroup{}, v1Dir{})); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestOfNobody(t *testing.T) {
	if c, err := Of(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, error %v", c, err)
	}
}
