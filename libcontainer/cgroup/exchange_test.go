package cgroup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestRestoringBringsBackWhatAWriteChanges(t *testing.T) {
	for _, c := range []struct{ file, value, content, want string }{
		{"memory.max", "5", "max", "max"},
		{"pids.max", "max", "7", "7"},
		{"cpu.max", "5000 10000", "max 100000", "max 100000"},
		{"cpuset.cpus", "1", "", ""},
		{"memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0", "0"},
		{"io.max", "8:0 rbps=5", "8:16 rbps=1 wbps=max\n8:0 rbps=2 wbps=max riops=max wiops=max", "8:0 rbps=2 wbps=max riops=max wiops=max"},
		{"io.max", "8:0 rbps=5\n", "8:16 rbps=1", "8:0 rbps=max wbps=max riops=max wiops=max"},
		{"io.latency", "8:0 target=5", "", "8:0 target=max"},
		{"blkio.throttle.read_bps_device", "8:0 100", "8:16 5", "8:0 0"},
		{"blkio.throttle.read_bps_device", "8:0 100", "8:0 5", "8:0 5"},
		{"io.bfq.weight", "200", "default 100\n8:0 50", "default 100"},
		{"io.bfq.weight", "8:0 200", "default 100\n8:0 50", "8:0 50"},
		{"io.bfq.weight", "8:0 200", "default 100", "8:0 default"},
		{"io.weight", "default 200", "default 100", "default 100"},
		{"rdma.max", "mlx hca_object=9", "mlx hca_handle=max hca_object=5", "mlx hca_handle=max hca_object=5"},
		{"net_prio.ifpriomap", "lo 5", "lo 0\neth0 3", "lo 0"},
	} {
		if got := restoring(c.file, c.value, c.content); got != c.want {
			t.Errorf("%s has %q and gets %q: restored by %q, want %q", c.file, c.content, c.value, got, c.want)
		}
	}
}

// TestExchangeCanBeTakenBack changes files of every kind that this machine has, and takes the
// changes back in reverse order.
func TestExchangeCanBeTakenBack(t *testing.T) {
	for hierarchy, writes := range map[string][][2]string{
		"memory": {
			{"memory.limit_in_bytes", "33554432"},
			{"memory.memsw.limit_in_bytes", "67108864"},
			{"memory.soft_limit_in_bytes", "1048576"},
			{"memory.swappiness", "7"},
			{"memory.oom_control", "1"},
		},
		"pids":             {{"pids.max", "7"}, {"pids.max", "9"}},
		"cpu":              {{"cpu.shares", "99"}, {"cpu.cfs_quota_us", "5000"}, {"cpu.cfs_period_us", "50000"}, {"cpu.cfs_burst_us", "1000"}, {"cpu.idle", "1"}},
		"cpuset":           {{"cpuset.cpus", "0"}},
		"blkio":            {{"blkio.weight", "200"}},
		"net_cls,net_prio": {{"net_cls.classid", "1048577"}, {"net_prio.ifpriomap", "lo 5"}},
		"net_cls":          {{"net_cls.classid", "1048577"}},
	} {
		t.Run(hierarchy, func(t *testing.T) { exchangeAndTakeBack(t, hierarchy, writes) })
	}
}

func exchangeAndTakeBack(t *testing.T, hierarchy string, writes [][2]string) {
	t.Helper()
	s := create(t, hierarchy)
	dir := s.groups[0].dir
	before := contents(dir, writes)
	var undo []*plan.WriteCgroup
	for _, w := range writes {
		u, err := s.Exchange(&plan.WriteCgroup{Hierarchy: hierarchy, File: w[0], Value: w[1]})
		if errors.Is(err, unix.ENOENT) {
			t.Logf("not on this machine: %s", w[0])
			continue
		}
		if err != nil || u == nil {
			t.Fatalf("%s: %v, undone by %v", w, err, u)
		}
		undo = append(undo, u)
	}
	if len(undo) > 0 && before == contents(dir, writes) {
		t.Fatal("nothing was changed")
	}
	for _, u := range slices.Backward(undo) {
		if err := s.Write(u); err != nil {
			t.Fatal(err)
		}
	}
	if after := contents(dir, writes); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func contents(dir string, writes [][2]string) string {
	var b strings.Builder
	for _, w := range writes {
		other, _ := alternative(&plan.WriteCgroup{File: w[0]})
		for _, file := range []string{w[0], other} {
			if text, err := readFile(dir, file); err == nil {
				b.WriteString(file + ": " + text + "\n")
			}
		}
	}
	return b.String()
}

func TestExchangeTellsWhatIsUsedOfARefusedMemoryLimit(t *testing.T) {
	s := create(t, "memory")
	sleeper(t, s)
	_, err := s.Exchange(&plan.WriteCgroup{Hierarchy: "memory", File: "memory.limit_in_bytes", Value: "1024"})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "unable to set memory limit to 1024 (current usage: ") {
		t.Error(err)
	}
}

func TestFactsAreTheContainersOwn(t *testing.T) {
	s := create(t, "memory", "cpu")
	facts := s.Facts()
	if facts.Find("memory") == nil || facts.Find("cpu") == nil || facts.Find("pids") != nil || facts.Mode != host.CgroupHybrid {
		t.Errorf("%+v", facts)
	}
	v2 := create(t, "").Facts()
	all, err := readFile(hierarchy(t, ""), controllersFile)
	if err != nil || v2.Mode != host.CgroupV2 || strings.Join(v2.Hierarchies[0].Controllers, " ") != all {
		t.Errorf("%+v, %v; the hierarchy has %s", v2, err, all)
	}
}

func TestPresentReadsTheLimitsInForce(t *testing.T) {
	s := create(t, "memory", "cpu")
	if now := s.Present(); now.Quota != -1 || now.Period != 100000 || now.Idle || now.MemoryLimit < 1<<62 {
		t.Errorf("a new cgroup: %+v", now)
	}
	for _, w := range []plan.WriteCgroup{
		{Hierarchy: "memory", File: "memory.limit_in_bytes", Value: "1048576"},
		{Hierarchy: "cpu", File: "cpu.cfs_period_us", Value: "50000"},
		{Hierarchy: "cpu", File: "cpu.cfs_quota_us", Value: "5000"},
	} {
		if err := s.Write(&w); err != nil {
			t.Fatal(err)
		}
	}
	want := plan.Present{MemoryLimit: 1048576, Quota: 5000, Period: 50000}
	now := s.Present()
	want.RTPeriod = now.RTPeriod // not every kernel has real-time groups
	if now != want {
		t.Errorf("%+v, want %+v", now, want)
	}
}
