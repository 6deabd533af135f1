package manager_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/tests/harness"
	"github.com/gantry-containers/gantry/tests/shim/client"
)

// TestGap ends the manager, lets tasks end while it is away, and starts it again. The first answer has their states and
// codes; a subscriber who was cut off, and comes back some time after the manager, with the same filters, sees what it
// has missed, once. GANTRY_GAP is a longer gap, 120s or so; deaths are spread over it.
func TestGap(t *testing.T) {
	length := 5 * time.Second
	if long, err := time.ParseDuration(os.Getenv("GANTRY_GAP")); err == nil {
		length = long
	}
	for _, how := range []string{"kill", "term"} {
		t.Run(fmt.Sprint(how, "/", length), func(t *testing.T) {
			t.Parallel()
			g := &gapped{subject: start(t), t: t, how: how}
			ctx, cancel := context.WithCancel(t.Context())
			g.before = g.Subscribe(ctx)
			for _, after := range []time.Duration{0, length / 5, length * 3 / 5, length * 4 / 5} {
				g.runs(after)
			}
			g.others()
			g.away(length)
			cancel()
			g.states()
			g.events()
			g.end()
		})
	}
}

// told is how long it may take until an exit is told: shims wait for their daemon's clients to come back, 73 s at most.
const told = 90 * time.Second

// gapped is a manager that goes away for a while.
type gapped struct {
	*subject
	t             *testing.T
	how           string
	mortals       []*mortal
	before, after *client.Subscription
	back          time.Time // when the manager was started again
}

// mortal is a process that ends while nobody looks.
type mortal struct {
	id, exec string
	pid      uint32
	code     uint32
	died     chan time.Time
}

// runs makes a container that ends, when it is told that the manager is away, after some time.
func (g *gapped) runs(after time.Duration) {
	g.t.Helper()
	m := &mortal{id: fmt.Sprintf("gap-%d", len(g.mortals)), code: uint32(5 + len(g.mortals))}
	m.pid = g.run(g.t, container{id: m.id, script: fmt.Sprintf("trap 'sleep %v; exit %d' USR1; touch /dev/shm/ready; while :; do sleep 0.05; done", after.Seconds(), m.code)})
	g.watch(m)
}

// others makes one container that goes on, with an exec that does not; one that has ended; and one that is created only.
func (g *gapped) others() {
	g.t.Helper()
	g.run(g.t, container{id: "lives", script: "sleep 1000"})
	m := &mortal{id: "lives", exec: "ends", code: 77}
	if err := g.Exec(limited(g.t), m.id, m.exec, process("trap 'sleep 1; exit 77' USR1; touch /dev/shm/ready; while :; do sleep 0.05; done"), client.IO{}); err != nil {
		g.t.Fatal(err)
	}
	var err error
	if m.pid, err = g.Start(limited(g.t), m.id, m.exec); err != nil {
		g.t.Fatal(err)
	}
	g.watch(m)
	g.run(g.t, container{id: "ended", script: "exit 4"})
	if _, err := g.Wait(limited(g.t), "ended", ""); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.create(limited(g.t), container{id: "created", script: "exit 9"}); err != nil {
		g.t.Fatal(err)
	}
	if !harness.Until(20*time.Second, func() bool {
		return count(g.before.Of("ended", ""), "exit") == 1 && count(g.before.Of("created", ""), "create") == 1
	}) {
		g.t.Fatalf("not told before the gap: %v", texts(g.before.Events()))
	}
}

// watch waits until the process has set its trap, and notes when it dies, by a pidfd: it is not our child.
func (g *gapped) watch(m *mortal) {
	g.t.Helper()
	ready := fmt.Sprintf("/proc/%d/root/dev/shm/ready", m.pid)
	if !harness.Until(20*time.Second, func() bool { return !missing(ready) }) {
		g.t.Fatalf("%s%s does not get ready", m.id, m.exec)
	}
	fd, err := unix.PidfdOpen(int(m.pid), 0)
	if err != nil {
		g.t.Fatal(err)
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
	g.mortals = append(g.mortals, m)
}

// away ends the manager for a while, in which all mortals die.
func (g *gapped) away(length time.Duration) {
	g.t.Helper()
	if g.how == "kill" {
		g.daemon.Kill()
	} else {
		g.daemon.Stop()
	}
	began := time.Now()
	for _, m := range g.mortals {
		if err := unix.Kill(int(m.pid), unix.SIGUSR1); err != nil {
			g.t.Fatal(err)
		}
	}
	for _, m := range g.mortals {
		m.died <- <-m.died
	}
	time.Sleep(time.Until(began.Add(length)))
	g.back = time.Now()
	g.daemon.Start()
}

// states wants the first answer to be right, of every process.
func (g *gapped) states() {
	g.t.Helper()
	for _, m := range g.mortals {
		p, err := g.Get(limited(g.t), m.id, m.exec)
		if err != nil || p.Status != tasktypes.Status_STOPPED || p.ExitStatus != m.code || p.Pid != m.pid {
			g.t.Errorf("%s%s: %v, code %d, pid %d, %v; want STOPPED, %d, %d", m.id, m.exec, p.GetStatus(), p.GetExitStatus(), p.GetPid(), err, m.code, m.pid)
			continue
		}
		died := <-m.died
		m.died <- died
		if at := time.Unix(p.ExitedAt.GetSeconds(), int64(p.ExitedAt.GetNanos())); at.Sub(died).Abs() > time.Second {
			g.t.Errorf("%s%s has exited at %v; want %v", m.id, m.exec, at, died)
		}
	}
	g.t.Logf("all states were right %v after the manager's start", time.Since(g.back).Round(time.Millisecond))
	for id, want := range map[string]tasktypes.Status{"lives": tasktypes.Status_RUNNING, "ended": tasktypes.Status_STOPPED, "created": tasktypes.Status_CREATED} {
		if p, err := g.Get(limited(g.t), id, ""); err != nil || p.Status != want {
			g.t.Errorf("%s: %v, %v; want %v", id, p.GetStatus(), err, want)
		}
	}
	if p, err := g.Get(limited(g.t), "ended", ""); err != nil || p.ExitStatus != 4 {
		g.t.Errorf("ended: code %d, %v; want 4", p.GetExitStatus(), err)
	}
}

// events subscribes again, not at once, and wants the exits that were missed, once each.
func (g *gapped) events() {
	g.t.Helper()
	time.Sleep(harness.Slow(300 * time.Millisecond)) // so that who has no memory has told it to nobody
	g.after = g.Subscribe(g.t.Context())
	for _, m := range g.mortals {
		if !harness.Until(time.Until(g.back.Add(told)), func() bool { return count(g.after.Of(m.id, m.exec), "exit") > 0 }) {
			g.t.Errorf("%s%s: no exit is told", m.id, m.exec)
			continue
		}
		for _, e := range g.after.Of(m.id, m.exec) {
			if e.Topic == "exit" && (e.Code != m.code || e.Pid != m.pid) {
				g.t.Errorf("%v; want pid %d, code %d", e, m.pid, m.code)
			}
		}
	}
	g.t.Logf("the exits were told within %v of the manager's start", time.Since(g.back).Round(time.Millisecond))
}

// end removes all, and counts what was told of it, before and after.
func (g *gapped) end() {
	g.t.Helper()
	for _, m := range g.mortals {
		if m.exec == "" {
			g.remove(g.t, m.id, m.code)
		} else if exit, err := g.Delete(limited(g.t), m.id, m.exec); err != nil || exit.Code != m.code {
			g.t.Errorf("delete %s: code %d, %v; want %d", m.exec, exit.Code, err, m.code)
		}
	}
	g.remove(g.t, "ended", 4)
	if _, err := g.Delete(limited(g.t), "created", ""); err != nil {
		g.t.Error(err)
	}
	g.forget(g.t, "created")
	g.stop(g.t, "lives")
	if !harness.Until(told, func() bool { return count(g.after.Of("lives", ""), "delete") > 0 }) {
		g.t.Error("no delete of lives is told")
	}
	time.Sleep(harness.Slow(500 * time.Millisecond)) // what is told twice comes late
	again := repeated(g.before.Events(), g.after.Events())
	g.t.Logf("of %d events before the gap the last %d were told again", len(g.before.Events()), again)
	events := slices.Concat(g.before.Events(), g.after.Events()[again:])
	topics := func(id, exec string) (topics []string) {
		for _, e := range events {
			if e.Container == id && e.Exec == exec {
				topics = append(topics, e.Topic)
			}
		}
		return topics
	}
	want := []string{"create", "start", "exit", "delete"}
	for _, id := range []string{"gap-0", "gap-1", "gap-2", "gap-3", "ended", "lives"} {
		if got := topics(id, ""); !slices.Equal(got, want) {
			g.t.Errorf("of %s is told: %v; want %v", id, got, want)
		}
	}
	if got, want := topics("lives", "ends"), []string{"exec-added", "exec-started", "exit"}; !slices.Equal(got, want) {
		g.t.Errorf("of the exec is told: %v; want %v", got, want)
	}
}

// repeated is how many of the last events before are the first after. A manager that is killed can't know whether what it
// has just sent was received, and sends it again; it does not send other things between.
func repeated(before, after []client.Event) int {
	same := func(a, b client.Event) bool {
		a.Received, b.Received = time.Time{}, time.Time{}
		return a == b
	}
	for n := min(len(before), len(after)); n > 0; n-- {
		if slices.EqualFunc(before[len(before)-n:], after[:n], same) {
			return n
		}
	}
	return 0
}
