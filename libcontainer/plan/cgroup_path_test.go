package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// v1Facts is a machine whose runtime runs below /svc, the memory one elsewhere.
func v1Facts(mode host.CgroupMode) *host.Facts {
	f := &host.Facts{Cgroup: host.Cgroup{Mode: mode, Hierarchies: []host.Hierarchy{
		{Name: "cpu,cpuacct", Mount: "/cg/cpu", Own: "/svc", Controllers: []string{"cpu", "cpuacct"}},
		{Name: "memory", Mount: "/cg/memory", Own: "/api/1", Controllers: []string{"memory"}},
		{Name: "systemd", Mount: "/cg/systemd", Own: "/", Named: true},
		{Name: "elogind", Mount: "/cg/elogind", Own: "/", Named: true},
	}}}
	for _, name := range []string{"cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"} {
		f.Cgroup.Hierarchies = append(f.Cgroup.Hierarchies, host.Hierarchy{
			Name: name, Mount: "/cg/" + name, Own: "/svc", Controllers: []string{name},
		})
	}
	if mode == host.CgroupHybrid {
		f.Cgroup.Hierarchies = append(f.Cgroup.Hierarchies, host.Hierarchy{Mount: "/cg/unified", Own: "/svc/1", Controllers: []string{}})
	}
	return f
}

// v2Facts is a machine with cgroup v2 alone and all controllers.
func v2Facts() *host.Facts {
	return &host.Facts{Cgroup: host.Cgroup{Mode: host.CgroupV2, Hierarchies: []host.Hierarchy{{
		Mount: "/cg", Own: "/user.slice/session.scope",
		Controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"},
	}}}}
}

func cgroupsPathSpec(path string) *specs.Spec {
	return &specs.Spec{Linux: &specs.Linux{CgroupsPath: path}}
}

func TestCgroupPathsAreThoseOfRunc(t *testing.T) {
	for _, c := range []struct {
		name, path             string
		cpu, memory, v2, pure2 string
	}{
		{"no path gives the id below the runtime", "", "/cg/cpu/svc/id", "/cg/memory/api/1/id", "/cg/unified/id", "/cg/user.slice/id"},
		{"an absolute path starts at the mount", "/a/b", "/cg/cpu/a/b", "/cg/memory/a/b", "/cg/unified/a/b", "/cg/a/b"},
		{"an absolute path can't climb", "/../../a/../b/", "/cg/cpu/b", "/cg/memory/b", "/cg/unified/b", "/cg/b"},
		{"a relative path starts below the runtime", "a//b", "/cg/cpu/svc/a/b", "/cg/memory/api/1/a/b", "/cg/unified/a/b", "/cg/user.slice/a/b"},
		{"a relative path can't climb", "../../../a", "/cg/cpu/svc/a", "/cg/memory/api/1/a", "/cg/unified/a", "/cg/user.slice/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := cgroupsFor(cgroupsPathSpec(c.path), "id", v1Facts(host.CgroupHybrid))
			if err != nil {
				t.Fatal(err)
			}
			dirs := map[string]string{}
			for i := range got {
				dirs[got[i].Hierarchy] = got[i].Dir()
			}
			if dirs["cpu,cpuacct"] != c.cpu || dirs["memory"] != c.memory || dirs[""] != c.v2 {
				t.Errorf("got %v", dirs)
			}
			if _, ok := dirs["elogind"]; ok || dirs["systemd"] == "" {
				t.Errorf("of the named hierarchies only systemd is joined: %v", dirs)
			}
			if got, err = cgroupsFor(cgroupsPathSpec(c.path), "id", v2Facts()); err != nil || len(got) != 1 || got[0].Dir() != c.pure2 {
				t.Errorf("on v2: %v, %v", got, err)
			}
		})
	}
}

func TestCgroupPathsThatAreRefused(t *testing.T) {
	for name, path := range map[string]string{
		"newline": "/a\nb", "NUL": "/a\x00", "the root": "/", "climbing to the root": "/a/..",
		"the runtime's own": ".", "climbing to the own": "../..",
	} {
		if got, err := cgroupsFor(cgroupsPathSpec(path), "id", v1Facts(host.CgroupV1)); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestMachineWithoutCgroups(t *testing.T) {
	facts := &host.Facts{Cgroup: host.Cgroup{Mode: host.CgroupNone}}
	if _, err := cgroupsFor(&specs.Spec{}, "id", facts); err == nil {
		t.Error("root needs cgroups")
	}
	facts.UID = 1000
	if got, err := cgroupsFor(&specs.Spec{}, "id", facts); err != nil || got != nil {
		t.Errorf("rootless: %v, %v", got, err)
	}
	if _, err := cgroupsFor(cgroupsPathSpec("/a"), "id", facts); err == nil {
		t.Error("a path that is asked for can't be left out")
	}
}

func TestCgroupsAreOptionalForWhoHasNoRights(t *testing.T) {
	for _, c := range []struct {
		facts host.Facts
		path  string
		want  bool
	}{
		{host.Facts{}, "", false},
		{host.Facts{UID: 1}, "", true},
		{host.Facts{UserNS: true}, "", true},
		{host.Facts{UID: 1}, "/asked/for", false},
	} {
		if diff := cmp.Diff(c.want, CgroupsOptional(cgroupsPathSpec(c.path), &c.facts)); diff != "" {
			t.Errorf("%+v %q:\n%s", c.facts, c.path, diff)
		}
	}
}
