package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// hog uses 64 MiB at once. The shell outlives it.
const hog = "head -c 64m /dev/zero | tail -c 64m >/dev/null"

// counter is what a test has killed call.
type counter struct{ atomic.Int32 }

func (n *counter) killed() { n.Add(1) }

// atLeast waits for a number of calls.
func (n *counter) atLeast(t *testing.T, want int32) {
	t.Helper()
	if !harness.Until(20*time.Second, func() bool { return n.Load() >= want }) {
		t.Errorf("%d calls, want %d", n.Load(), want)
	}
}

// tight is a cgroup with little memory, and a watch of it.
func tight(t *testing.T) (*group, *OOM, *counter) {
	t.Helper()
	g := newGroup(t)
	c, err := g.find()
	check(t, err)
	if c.unified != "" {
		harness.Need(t, harness.Controller("memory"))
		g.set(t, "", "memory.max", "16777216")
		g.set(t, "", "memory.swap.max", "0")
	} else {
		g.set(t, "memory", "memory.limit_in_bytes", "16777216")
		g.set(t, "memory", "memory.memsw.limit_in_bytes", "16777216")
	}
	n := &counter{}
	o, err := c.WatchOOM(n.killed)
	check(t, err)
	t.Cleanup(func() { check(t, o.Close()) })
	return g, o, n
}

// kernelCount is the kernel's number of kills in a cgroup itself.
func kernelCount(t *testing.T, c *Cgroup) uint64 {
	t.Helper()
	if c.unified == "" {
		m, err := c.metricsV1()
		check(t, err)
		return m.MemoryOomControl.OomKill
	}
	m, err := metricsV2(c.unified)
	check(t, err)
	return m.MemoryEvents.OomKill
}

func TestOOMIsTold(t *testing.T) {
	g, o, n := tight(t)
	g.run(t, hog+"; "+hog+"; exec sleep 1000")
	n.atLeast(t, 1)
	harness.Until(20*time.Second, func() bool { kills, _ := o.kills(); return kills == 2 })
	// The rest is told by Flush at the latest, and once.
	o.Flush()
	told := n.Load()
	if told > 2 {
		t.Errorf("%d calls for two kills", told)
	}
	o.Flush()
	time.Sleep(50 * time.Millisecond)
	if n.Load() != told {
		t.Error("told again")
	}
}

// After the end of the process that was killed Flush knows.
func TestOOMFlush(t *testing.T) {
	for range 5 {
		g, o, n := tight(t)
		g.run(t, "exec dd if=/dev/zero of=/dev/null bs=64M count=1")
		if err := g.cmd.Wait(); err == nil {
			t.Fatal("not killed")
		}
		g.cmd = nil
		o.Flush()
		if n.Load() != 1 {
			t.Errorf("%d calls after Flush", n.Load())
		}
	}
}

// The kills of cgroups below count, as for a container in which a container runs.
func TestOOMBelow(t *testing.T) {
	g, _, n := tight(t)
	var below []string
	for _, dir := range g.dirs {
		below = append(below, dir+"/below")
		check(t, os.Mkdir(dir+"/below", 0o755))
	}
	inner := &group{name: g.name + "/below", dirs: below}
	defer inner.remove(t)
	inner.run(t, hog+"; exec sleep 1000")
	n.atLeast(t, 1)
}

// The end of a cgroup wakes who waits on v1; it is no kill.
func TestOOMOfACgroupThatGoes(t *testing.T) {
	g, o, n := tight(t)
	g.run(t, "exit 0")
	g.remove(t)
	g.dirs = nil
	time.Sleep(100 * time.Millisecond)
	o.Flush()
	check(t, o.Close())
	check(t, o.Close())
	o.Flush()
	if n.Load() != 0 {
		t.Errorf("%d calls", n.Load())
	}
}

// A cgroup that is told not to kill runs out of memory without a kill.
func TestOOMWithoutKill(t *testing.T) {
	g, o, n := tight(t)
	c, err := g.find()
	check(t, err)
	if c.unified != "" {
		t.Skip("needs cgroup v1: v2 always kills")
	}
	g.set(t, "memory", "memory.oom_control", "1")
	f, err := openFolder(c.dir("memory"))
	check(t, err)
	defer f.close()
	// Only a fault in user mode waits; a system call that needs memory fails, and the shell may end by one.
	if !harness.Until(20*time.Second, func() bool {
		g.end()
		g.run(t, "a=0123456789abcdef; while :; do a=$a$a; done 2>/dev/null")
		ended := make(chan struct{})
		go func(cmd *exec.Cmd) { _, _ = cmd.Process.Wait(); close(ended) }(g.cmd)
		return harness.Until(time.Second, func() bool {
			select {
			case <-ended:
				return true
			default:
				return strings.Contains(string(f.read("memory.oom_control")), "under_oom 1")
			}
		}) && strings.Contains(string(f.read("memory.oom_control")), "under_oom 1")
	}) {
		t.Fatal("never out of memory")
	}
	time.Sleep(50 * time.Millisecond)
	o.Flush()
	if n.Load() != 0 {
		t.Errorf("%d calls", n.Load())
	}
}

// What there was before the watch is not its concern, and nothing goes on after Close.
func TestOOMBeforeAndAfter(t *testing.T) {
	g, o, n := tight(t)
	g.run(t, hog+"; exec sleep 1000")
	n.atLeast(t, 1)
	g.end()
	c, err := g.find()
	check(t, err)
	goroutines := runtime.NumGoroutine()
	var later counter
	second, err := c.WatchOOM(later.killed)
	check(t, err)
	second.Flush()
	time.Sleep(50 * time.Millisecond)
	check(t, second.Close())
	check(t, o.Close())
	g.run(t, hog+"; exec sleep 1000")
	if !harness.Until(20*time.Second, func() bool { return kernelCount(t, c) == 2 }) {
		t.Errorf("%d kills", kernelCount(t, c))
	}
	if later.Load() != 0 {
		t.Errorf("%d calls of the second watch", later.Load())
	}
	if !harness.Until(5*time.Second, func() bool { return runtime.NumGoroutine() < goroutines }) {
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
	}
}

// Without a memory controller there is nothing to watch, which is no error.
func TestOOMWithoutController(t *testing.T) {
	for _, c := range []*Cgroup{{unified: t.TempDir()}, {controllers: []v1Dir{{"pids", t.TempDir()}}}, {controllers: []v1Dir{{"memory", t.TempDir()}}}} {
		o, err := c.WatchOOM(func() { t.Error("called") })
		check(t, err)
		o.Flush()
		check(t, o.Close())
	}
	if _, err := (&Cgroup{unified: t.TempDir() + "/gone"}).WatchOOM(func() {}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// The v2 way of watching, tried on a file of events that this hybrid machine has as well.
func TestWatchOfEvents(t *testing.T) {
	g := newGroup(t)
	dir := g.dir(t, "")
	if dir == "" {
		t.Skip("needs a cgroup v2 hierarchy")
	}
	n := &counter{}
	o := &OOM{killed: n.killed}
	wait, err := o.watchV2(dir, "cgroup.events", "populated")
	check(t, err)
	ended := make(chan struct{})
	go func() { wait(); close(ended) }()
	for i := range int32(3) {
		g.run(t, "exec sleep 1000")
		n.atLeast(t, i+1)
		g.end()
		harness.Until(5*time.Second, func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.told == 0 })
		if got := n.Load(); got != i+1 {
			t.Errorf("%d calls, want %d", got, i+1)
		}
	}
	g.remove(t)
	g.dirs = nil
	o.Flush()
	check(t, o.Close())
	<-ended
}
