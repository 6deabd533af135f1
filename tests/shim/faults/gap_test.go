package faults_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// TestGap ends a containerd, lets tasks end while it is away, and starts it again. The tasks are there, with their
// codes; a subscriber who comes as early as the daemon answers sees one exit of each, with the time of its death.
func TestGap(t *testing.T) {
	t.Parallel()
	for _, gap := range []struct {
		release compat.Generation
		how     string
		length  time.Duration
		deaths  []time.Duration // how long after the daemon's end the tasks end
	}{
		{newest, "kill", 20 * time.Second, seconds(0, 1, 3, 10, 18, 19)},
		{newest, "stop", 20 * time.Second, seconds(0, 1, 3, 10, 18, 19)},
		{newest, "stop", 121 * time.Second, seconds(1, 60, 119, 120)}, // after a kill the events would take another 73 s
		{debian, "kill", 20 * time.Second, seconds(0, 1, 3, 10, 18, 19)},
		{debian, "stop", 5 * time.Second, seconds(1, 4)},
	} {
		t.Run(fmt.Sprintf("%s/%s/%v", gap.release, gap.how, gap.length), func(t *testing.T) {
			t.Parallel()
			s := start(t, gap.release)
			g := &gapped{service: s, t: t}
			s.Subscribe(t.Context()) // our manager remembers for those who were there
			for _, after := range gap.deaths {
				g.runs(after)
			}
			g.execs()
			g.away(gap.how, gap.length)
			g.check()
		})
	}
}

func seconds(list ...time.Duration) []time.Duration {
	for i := range list {
		list[i] *= time.Second
	}
	return list
}

// told is how long a shim whose daemon was away may keep events from it, so that the daemon's clients are there before
// them (shim/events: 73 s at most). What it takes is logged.
const told = 90 * time.Second

// gapped is a service that goes away for a while.
type gapped struct {
	*service
	t     *testing.T
	tasks []*mortal
	exec  *mortal
	after *client.Subscription // since the daemon is back
	ended time.Time
	back  time.Time
}

// mortal is a process that ends while nobody looks.
type mortal struct {
	id, exec string
	pid      uint32
	code     uint32
	after    time.Duration
	died     chan time.Time
}

// runs makes a container whose process ends with a code so long after the daemon's end.
func (g *gapped) runs(after time.Duration) {
	g.t.Helper()
	m := &mortal{id: fmt.Sprintf("gap-%d", len(g.tasks)), code: uint32(5 + len(g.tasks)), after: after}
	// It waits for the signal, and then for its time.
	script := fmt.Sprintf("trap 'sleep %v; exit %d' USR1; while :; do sleep 0.05; done", after.Seconds(), m.code)
	m.pid = g.run(g.t, container{id: m.id, script: script})
	m.watch(g.t)
	g.tasks = append(g.tasks, m)
}

// execs makes a container that goes on, and a process in it that doesn't.
func (g *gapped) execs() {
	g.t.Helper()
	g.run(g.t, container{id: "lives", script: "sleep 1000"})
	m := &mortal{id: "lives", exec: "ends", code: 77, after: 2 * time.Second}
	if err := g.service.exec(limited(g.t), m.id, m.exec, "trap 'sleep 2; exit 77' USR1; while :; do sleep 0.05; done"); err != nil {
		g.t.Fatal(err)
	}
	p, err := g.Get(limited(g.t), m.id, m.exec)
	if err != nil {
		g.t.Fatal(err)
	}
	m.pid = p.Pid
	m.watch(g.t)
	g.exec = m
}

// watch notes when the process dies, by a pidfd: it is not our child.
func (m *mortal) watch(t *testing.T) {
	t.Helper()
	fd, err := unix.PidfdOpen(int(m.pid), 0)
	if err != nil {
		t.Fatal(err)
	}
	m.died = make(chan time.Time, 1)
	go func() {
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n == 1 || err != nil && err != unix.EINTR {
				m.died <- time.Now()
				return
			}
		}
	}()
}

// away ends the daemon for a while. A subscriber is there when it comes back, as early as can be.
func (g *gapped) away(how string, length time.Duration) {
	g.t.Helper()
	time.Sleep(harness.Slow(500 * time.Millisecond)) // the shells have set their traps
	if how == "kill" {
		g.daemon.Kill()
	} else {
		g.daemon.Stop()
	}
	g.ended = time.Now()
	for _, m := range append(g.tasks, g.exec) {
		if err := unix.Kill(int(m.pid), unix.SIGUSR1); err != nil {
			g.t.Fatal(err)
		}
	}
	began := time.Now()
	for _, m := range append(g.tasks, g.exec) {
		at := <-m.died
		if over := time.Since(began); over > length {
			g.t.Fatalf("%s ends only after %v, too late for this test", m.id, over)
		}
		m.died <- at
	}
	time.Sleep(time.Until(began.Add(length)))
	g.after = g.Subscribe(g.t.Context())
	g.daemon.Start()
	g.back = time.Now()
}

// check looks at each task by its state, its events and its deletion.
func (g *gapped) check() {
	g.t.Helper()
	for _, m := range append(g.tasks, g.exec) {
		p, err := g.Get(limited(g.t), m.id, m.exec)
		if err != nil || p.Status != tasktypes.Status_STOPPED || p.ExitStatus != m.code {
			g.t.Errorf("%s%s after the daemon's return: %v, code %d, %v; want STOPPED, %d", m.id, m.exec, p.GetStatus(), p.GetExitStatus(), err, m.code)
		}
	}
	if p, err := g.Get(limited(g.t), "lives", ""); err != nil || p.Status != tasktypes.Status_RUNNING {
		g.t.Errorf("lives: %v, %v; want RUNNING", p.GetStatus(), err)
	}
	var slowest time.Duration
	for _, m := range append(g.tasks, g.exec) {
		slowest = max(slowest, g.checkExit(m, <-m.died))
	}
	g.t.Logf("%d exits have come %v after the daemon answers", len(g.tasks)+1, slowest.Round(time.Millisecond))
	for _, m := range g.tasks {
		g.remove(g.t, m.id, m.code)
	}
	if exit, err := g.Delete(limited(g.t), g.exec.id, g.exec.exec); err != nil || exit.Code != g.exec.code {
		g.t.Errorf("delete the exec: code %d, %v; want %d", exit.Code, err, g.exec.code)
	}
	g.stop(g.t, "lives")
	for _, id := range append(ids(g.tasks), "lives") {
		if !harness.Until(told, func() bool { return count(g.of(id, ""), "delete") > 0 }) {
			g.t.Errorf("%s: no delete event", id)
		}
	}
	time.Sleep(harness.Slow(time.Second)) // what is told twice comes late
	for _, m := range g.tasks {
		var c tally
		c.check(g.of(m.id, ""), []string{"exit", "delete"}, m.code)
		c.report(g.t, 1, "task that ended in the gap: "+m.id)
	}
	var c tally
	c.check(g.of("lives", "ends"), []string{"exit"}, g.exec.code)
	c.report(g.t, 1, "process of exec that ended in the gap")
}

// of are the events since the daemon's end: our manager, which can't know whether the last before it were received,
// tells them again.
func (g *gapped) of(id, exec string) []client.Event {
	return slices.DeleteFunc(g.after.Of(id, exec), func(e client.Event) bool { return e.Published.Before(g.ended) })
}

func ids(list []*mortal) []string {
	var ids []string
	for _, m := range list {
		ids = append(ids, m.id)
	}
	return ids
}

// checkExit waits for the exit event, and returns how long after the daemon's return it came.
func (g *gapped) checkExit(m *mortal, died time.Time) time.Duration {
	g.t.Helper()
	var exit client.Event
	if !harness.Until(time.Until(g.back.Add(told)), func() bool {
		for _, e := range g.of(m.id, m.exec) {
			if e.Topic == "exit" {
				exit = e
				return true
			}
		}
		return false
	}) {
		g.t.Errorf("%s%s: no exit event", m.id, m.exec)
		return 0
	}
	if exit.Code != m.code || exit.Pid != m.pid || exit.At.Sub(died).Abs() > time.Second {
		g.t.Errorf("%v; want pid %d code %d at %s", exit, m.pid, m.code, died.Format("15:04:05.000"))
	}
	return exit.Received.Sub(g.back)
}
