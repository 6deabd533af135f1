package faults_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// gap is what is away while containers exit.
type gap struct {
	name     string
	down, up func(s *subject)
	// forgets says that how the containers ended is known by nobody: a containerd that starts throws away what has ended
	// meanwhile.
	forgets bool
}

// TestExitInTheGap lets containers end while the engine, its manager, or both are away, and wants the next ones to do
// what follows: codes and times, one event each, restart policies, --rm. GANTRY_GAP is for how many seconds longer they
// are away. A manager that is away is stopped first: this engine's own would be there again at once.
func TestExitInTheGap(t *testing.T) {
	s := start(t, docker.Setup{})
	engineUp := func(s *subject) { s.Dockerd.Start() }
	s.gaps(t, []gap{
		{"engine killed", func(s *subject) { s.Dockerd.Kill() }, engineUp, false},
		{"engine ended", func(s *subject) { s.Dockerd.Stop() }, engineUp, false},
		{"manager killed", func(s *subject) { s.signalManager(unix.SIGSTOP) }, func(s *subject) { s.signalManager(unix.SIGKILL) }, false},
		{"engine and manager killed", func(s *subject) { s.Dockerd.Kill(); s.signalManager(unix.SIGKILL) }, engineUp, false},
		{
			"manager and engine killed", func(s *subject) { s.signalManager(unix.SIGSTOP); s.Dockerd.Kill() },
			func(s *subject) { s.signalManager(unix.SIGKILL); s.Dockerd.Start() }, false,
		},
	})
}

// TestExitInTheGapOfContainerd is the same with containerd below.
func TestExitInTheGapOfContainerd(t *testing.T) {
	s := start(t, docker.Setup{Containerd: true})
	up := func(s *subject) { s.Below.Start(); s.Dockerd.Start() }
	s.gaps(t, []gap{
		{"engine killed", func(s *subject) { s.Dockerd.Kill() }, func(s *subject) { s.Dockerd.Start() }, false},
		{"containerd killed", func(s *subject) { s.Below.Kill() }, func(s *subject) { s.Below.Start() }, true},
		{"engine and containerd killed", func(s *subject) { s.Dockerd.Kill(); s.Below.Kill() }, up, true},
		{"containerd and engine killed", func(s *subject) { s.Below.Kill(); s.Dockerd.Kill() }, up, true},
	})
}

// signalManager sends a signal to the manager that the engine has started.
func (s *subject) signalManager(sig unix.Signal) {
	s.t.Helper()
	if err := unix.Kill(s.pid("exec/manager/manager.pid"), sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *subject) gaps(t *testing.T, gaps []gap) {
	t.Helper()
	for _, g := range gaps {
		if !t.Run(g.name, func(t *testing.T) {
			inner := *s
			inner.t = t
			inner.gap(g)
			inner.nothing()
		}) {
			return
		}
	}
}

// leaver is a container that ends in the gap, and what becomes of it.
type leaver struct {
	end       string // what its program does when it is told to go
	change    func(o *client.ContainerCreateOptions)
	paused    bool
	status    container.ContainerState
	code      int
	restarted int
	gone      bool
}

func policy(name container.RestartPolicyMode) func(o *client.ContainerCreateOptions) {
	return func(o *client.ContainerCreateOptions) {
		o.HostConfig.RestartPolicy = container.RestartPolicy{Name: name}
	}
}

var leavers = map[string]leaver{
	"code":           {end: "exit 7", status: container.StateExited, code: 7},
	"remove":         {end: "exit 5", change: func(o *client.ContainerCreateOptions) { o.HostConfig.AutoRemove = true }, gone: true},
	"on-failure":     {end: "exit 3", change: policy(container.RestartPolicyOnFailure), status: container.StateRunning, restarted: 1},
	"no-failure":     {end: "exit 0", change: policy(container.RestartPolicyOnFailure), status: container.StateExited},
	"always":         {end: "exit 0", change: policy(container.RestartPolicyAlways), status: container.StateRunning, restarted: 1},
	"unless-stopped": {end: "exit 9", change: policy(container.RestartPolicyUnlessStopped), status: container.StateRunning, restarted: 1},
	"paused":         {end: "exit 0", paused: true, status: container.StateExited, code: 137},
	"memory": {end: "exec tail /dev/zero", change: func(o *client.ContainerCreateOptions) {
		o.HostConfig.Memory, o.HostConfig.MemorySwap = 8<<20, 8<<20
	}, status: container.StateExited, code: 137},
}

// gap is one of them.
func (s *subject) gap(g gap) {
	s.t.Helper()
	dir, pids := s.t.TempDir(), map[string]int{}
	for name, l := range leavers {
		o := want(name, "until rm /go/"+name+" 2>/dev/null; do usleep 20000; done; "+l.end)
		o.HostConfig.Binds = []string{dir + ":/go"}
		if l.change != nil {
			l.change(&o)
		}
		s.run(o)
		pids[name] = s.inspect(name).State.Pid
		if l.paused {
			if _, err := s.ContainerPause(limited(s.t, patience), name, client.ContainerPauseOptions{}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	g.down(s)
	began := time.Now()
	for name, l := range leavers {
		if l.paused {
			killFrozen(s.t, pids[name])
		} else if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, pid := range pids {
		if !harness.Until(patience, func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) || ended(pid) }) {
			s.t.Errorf("%s does not end", name)
		}
	}
	over := time.Now()
	time.Sleep(time.Duration(number("GANTRY_GAP", 0)) * time.Second)
	g.up(s)
	for name, l := range leavers {
		if g.forgets {
			l.code = unknown
		}
		if name == "no-failure" && g.forgets {
			l.status, l.restarted = container.StateRunning, 1
		}
		s.left(name, l, began, over)
	}
	s.died(began, g.forgets)
}

// ended says that a process is a zombie: its parent, the shim, may be busy.
func ended(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(b), ") Z ")
}

// unknown is the code of a container of which nobody knows how it ended.
const unknown = -1

// left looks at what became of one that ended.
func (s *subject) left(name string, l leaver, began, over time.Time) {
	s.t.Helper()
	if l.gone {
		if !harness.Until(patience, func() bool {
			_, err := s.ContainerInspect(limited(s.t, patience), name, client.ContainerInspectOptions{})
			return absent(err)
		}) {
			s.t.Errorf("%s is still there", name)
		}
		return
	}
	// A containerd that comes back may end, as dead, the shim of a container that was just started again, which then starts once more.
	again := func(n int) bool { return n == l.restarted || l.code == unknown && l.restarted > 0 && n > l.restarted }
	// State and count of one answer: between two it may have been started again.
	c := s.inspect(name)
	harness.Until(patience, func() bool {
		c = s.inspect(name)
		return c.State.Status == l.status && again(c.RestartCount)
	})
	if c.State.Status != l.status {
		s.t.Errorf("%s: is %s, want %s", name, c.State.Status, l.status)
	}
	if !again(c.RestartCount) || l.status == container.StateExited && c.State.ExitCode != l.code && l.code != unknown {
		s.t.Errorf("%s: code %d, started again %d times; want %d, %d", name, c.State.ExitCode, c.RestartCount, l.code, l.restarted)
	}
	if l.code != unknown && (c.State.Running != (l.status == container.StateRunning) || c.State.Paused || c.State.Restarting || c.State.Running != (c.State.Pid != 0)) {
		s.t.Errorf("%s: %+v", name, c.State)
	}
	// The shim saw the end before the process had gone; the margin is for a machine that is busy.
	const margin = 2 * time.Second
	if l.code == unknown {
		over = time.Now()
	}
	if at, err := time.Parse(time.RFC3339Nano, c.State.FinishedAt); err != nil || at.Before(began.Add(-margin)) || at.After(over.Add(harness.Limit(margin))) {
		s.t.Errorf("%s: finished at %s; it was between %v and %v", name, c.State.FinishedAt, began, over)
	}
}

// died wants one event of each end.
func (s *subject) died(since time.Time, forgets bool) {
	s.t.Helper()
	got := map[string]int{}
	r := s.Events(limited(s.t, patience), client.EventsListOptions{
		Since: stamp(since), Until: stamp(time.Now()), Filters: client.Filters{}.Add("event", string(events.ActionDie)),
	})
	for r.Err != nil {
		select {
		case m := <-r.Messages:
			got[m.Actor.Attributes["name"]]++
			l := leavers[m.Actor.Attributes["name"]]
			if !forgets && l.status == container.StateExited && m.Actor.Attributes["exitCode"] != strconv.Itoa(l.code) {
				s.t.Errorf("event %+v; want code %d", m, l.code)
			}
		case err := <-r.Err:
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
				s.t.Error(err)
			}
			r.Err = nil
		}
	}
	for name := range maps.Keys(leavers) {
		if got[name] != 1 {
			s.t.Errorf("%s: %d events of its end", name, got[name])
		}
	}
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixNano())/1e9, 'f', 9, 64) }

// killFrozen kills a process in a container that is paused. With cgroup v1 it dies when it is thawed.
func killFrozen(t testing.TB, pid int) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err = errors.Join(err, unix.Kill(pid, unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":freezer:"); ok {
			if err := os.WriteFile(filepath.Join("/sys/fs/cgroup/freezer", path, "freezer.state"), []byte("THAWED"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}
