package cgroup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	stats1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	"github.com/containerd/cgroups/v3/cgroup2"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"google.golang.org/protobuf/proto"

	"github.com/gantry-containers/gantry/tests/harness"
)

// theirs reads a process's cgroup with the library of containerd's shim, as that does.
func theirs(t *testing.T, pid int, unified bool) proto.Message {
	t.Helper()
	if unified {
		path, err := cgroup2.PidGroupPath(pid)
		check(t, err)
		m, err := cgroup2.Load(path)
		check(t, err)
		s, err := m.Stat()
		check(t, err)
		return s
	}
	c, err := cgroup1.Load(cgroup1.PidPath(pid))
	check(t, err)
	s, err := c.Stat(cgroup1.IgnoreNotExist)
	check(t, err)
	return s
}

// busy does a bit of everything that is counted, and then nothing.
const busy = `dd if=/dev/zero of="$0" bs=4k count=200 oflag=direct; dd if="$0" of=/dev/null bs=4k iflag=direct; cat "$0" >/dev/null
i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; touch "$0.done"; exec sleep 1000`

// TestSameAsContainerd: what containerd's own shim tells of a cgroup, field by field. The process rests, and whatever
// its library reads alike before and after must be what is read here.
func TestSameAsContainerd(t *testing.T) {
	g := newGroup(t)
	c := g.limited(t)
	g.runBusy(t)
	pid := g.cmd.Process.Pid
	if got, err := Of(pid); err != nil || got.unified != c.unified {
		t.Fatal(got, err)
	}
	var diff string
	same := harness.Until(20*time.Second, func() bool {
		before := theirs(t, pid, c.unified != "")
		stats, err := c.Stats()
		check(t, err)
		after := theirs(t, pid, c.unified != "")
		ours := before.ProtoReflect().New().Interface()
		check(t, proto.Unmarshal(stats.Value, ours))
		if stats.TypeUrl != string(ours.ProtoReflect().Descriptor().FullName()) {
			t.Fatalf("type %s", stats.TypeUrl)
		}
		for _, m := range []proto.Message{before, ours, after} {
			settle(m)
		}
		diff = "moving"
		if !proto.Equal(before, after) {
			return false
		}
		diff = "theirs: " + before.(interface{ String() string }).String() + "\nours:   " + ours.(interface{ String() string }).String()
		if !proto.Equal(before, ours) {
			t.Fatal(diff)
		}
		return true
	})
	if !same {
		t.Errorf("never at rest: %s", diff)
	}
	t.Log(diff)
	for _, field := range []string{"total:", "throttl", "limit:"} {
		if !strings.Contains(strings.ToLower(diff), field) {
			t.Errorf("no %s in it: the test proves less than it says", field)
		}
	}
}

// settle takes away what moves though nothing happens, and puts into order what has none.
func settle(m proto.Message) {
	switch m := m.(type) {
	case *stats1.Metrics:
	case *stats2.Metrics:
		for _, p := range []*stats2.PSIStats{m.CPU.GetPSI(), m.Memory.GetPSI(), m.Io.GetPSI()} {
			for _, d := range []*stats2.PSIData{p.GetSome(), p.GetFull()} {
				if d != nil {
					d.Avg10, d.Avg60, d.Avg300 = 0, 0, 0
				}
			}
		}
		slices.SortFunc(m.Hugetlb, func(a, b *stats2.HugeTlbStat) int { return strings.Compare(a.Pagesize, b.Pagesize) })
	}
}
