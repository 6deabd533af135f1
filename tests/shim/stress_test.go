package shim_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// group makes a container share the shim of those with the same value.
const group = "io.containerd.runc.v2.group=stress"

// cycles is how many containers and execs the stress test runs: $GANTRY_STRESS (10000 takes half an hour), or a few.
func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GANTRY_STRESS")
	if text == "" {
		return 48
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("$GANTRY_STRESS: %v", err)
	}
	return n
}

// TestStress runs containers and execs through one shim, and others with a shim each, and wants the one to hold no
// more at the end than after a tenth of them. That nothing else is left StartContainerd's end demands.
func TestStress(t *testing.T) {
	harness.NeedRoot(t)
	n := cycles(t)
	daemon := compat.StartContainerd(t, compat.Containerd24, compat.Shim(t, compat.Containerd24))
	client := daemon.Client(harness.Runtime(t))
	client.Ctr("run", "--detach", "--annotation", group, compat.ImageName, "anchor", "sleep", "100000")
	pids := client.ShimPIDs("anchor")
	if len(pids) != 1 {
		t.Fatalf("shims of anchor: %v, want one", pids)
	}
	const parts = 10
	var early, last side.Footprint
	var routines [2]int // early and last
	for part := range parts {
		together(t, client, part*n/parts, (part+1)*n/parts)
		last = calm(t, pids[0], early)
		routines[1] = goroutines(client, pids[0])
		if part == 0 {
			early, routines[0] = last, routines[1]
		}
		if n >= 1000 {
			t.Logf("after %d cycles: %+v, %d goroutines", (part+1)*n/parts, last, routines[1])
		}
	}
	client.Ctr("tasks", "rm", "--force", "anchor")
	client.Ctr("containers", "rm", "anchor")
	if last.Files > early.Files {
		t.Errorf("the shim has %v files open, and had %v early", last.Files, early.Files)
	}
	if routines[1] > routines[0] {
		t.Errorf("the shim has %d goroutines, and had %d early", routines[1], routines[0])
	}
	// Threads, and the pages of the heap, come in the number that were needed at one time.
	if last.Threads > early.Threads+4 {
		t.Errorf("the shim has %v threads, and had %v early", last.Threads, early.Threads)
	}
	if limit := 1.5*early.Private + 512; last.Private > limit {
		t.Errorf("the shim has %v KiB of private memory, more than %v: it had %v early", last.Private, limit, early.Private)
	}
}

// together runs cycles of all kinds at the same time, from the first to before the end.
func together(t *testing.T, client *compat.Client, first, end int) {
	t.Helper()
	const workers = 4
	var wg sync.WaitGroup
	var next atomic.Int64
	next.Store(int64(first))
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < end; i = int(next.Add(1) - 1) {
				cycle(t, client, i)
			}
		})
	}
	wg.Wait()
}

// cycle runs a container in the group, an exec, a container that can't start, or a container with a shim of its own.
func cycle(t *testing.T, client *compat.Client, i int) {
	t.Helper()
	id := fmt.Sprintf("cycle-%d", i)
	switch {
	case i%4 == 1:
		client.Ctr("tasks", "exec", "--exec-id", id, "anchor", "true")
	case i%4 == 3:
		client.Ctr("run", "--rm", compat.ImageName, id, "true")
	case i%16 == 0:
		if out, err := client.Try("run", "--rm", "--annotation", group, compat.ImageName, id, "/missing"); err == nil {
			t.Errorf("%s: a program that is missing starts: %s", id, out)
		}
	default:
		client.Ctr("run", "--rm", "--annotation", group, compat.ImageName, id, "true")
	}
}

// calm is what the shim holds when the work of its last call is done: when it has no more files open than before, if it
// ever comes to that.
func calm(t *testing.T, pid int, before side.Footprint) side.Footprint {
	t.Helper()
	var f side.Footprint
	time.Sleep(time.Second) // memory is given back a moment after the last call
	harness.Until(5*time.Second, func() bool {
		f = side.FootprintOf(t, pid)
		return before.Files == 0 || f.Files <= before.Files
	})
	return f
}

// routine begins the stack of a goroutine: runtime.Stack.
var routine = regexp.MustCompile(`goroutine \d+ \[`)

// goroutines counts those whose stacks the shim writes to the daemon's log at SIGUSR1; 0 if it writes none.
func goroutines(client *compat.Client, pid int) int {
	before := len(client.Log())
	if unix.Kill(pid, unix.SIGUSR1) != nil {
		return 0
	}
	count := 0
	harness.Until(5*time.Second, func() bool {
		count = len(routine.FindAllString(client.Log()[before:], -1))
		return count > 0
	})
	return count
}
