package health

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/tasks"
)

func TestCheckOf(t *testing.T) {
	for name, tc := range map[string]struct {
		config *api.HealthConfig
		shell  []string
		want   []string
	}{
		"none":          {},
		"empty":         {config: &api.HealthConfig{}},
		"NONE":          {config: &api.HealthConfig{Test: []string{"NONE"}}},
		"unknown":       {config: &api.HealthConfig{Test: []string{"HTTP", "x"}}},
		"CMD":           {config: &api.HealthConfig{Test: []string{"CMD", "a", "b"}}, want: []string{"a", "b"}},
		"CMD-SHELL":     {config: &api.HealthConfig{Test: []string{"CMD-SHELL", "a b"}}, want: []string{"/bin/sh", "-c", "a b"}},
		"another shell": {config: &api.HealthConfig{Test: []string{"CMD-SHELL", "a b"}}, shell: []string{"bash", "-ec"}, want: []string{"bash", "-ec", "a b"}},
	} {
		ck, ok := checkOf(&container.Container{Config: &api.Config{Healthcheck: tc.config, Shell: tc.shell}})
		if d := cmp.Diff(tc.want, ck.cmd); d != "" || ok != (tc.want != nil) {
			t.Errorf("%s: %v %s", name, ok, d)
		}
		if ok && (ck.interval != 30*time.Second || ck.timeout != 30*time.Second || ck.startInterval != 5*time.Second || ck.retries != 3) {
			t.Errorf("%s: %+v", name, ck)
		}
	}
}

func TestPause(t *testing.T) {
	ck := check{interval: 30 * time.Second, startInterval: 5 * time.Second, startPeriod: 12 * time.Second}
	for _, tc := range []struct {
		since  time.Duration
		status api.HealthStatus
		want   time.Duration
	}{
		{0, api.Starting, 5 * time.Second},
		{10 * time.Second, api.Starting, 2 * time.Second},
		{12 * time.Second, api.Starting, 30 * time.Second},
		{time.Second, api.Healthy, 30 * time.Second},
	} {
		if got := ck.pause(tc.since, tc.status); got != tc.want {
			t.Errorf("%v after the start, %s: %v, want %v", tc.since, tc.status, got, tc.want)
		}
	}
}

func TestAfter(t *testing.T) {
	start := time.Unix(1000, 0)
	ck := check{retries: 2, startPeriod: 10 * time.Second}
	h := &api.Health{Status: api.Starting}
	for i, tc := range []struct {
		at     int // seconds after the start
		code   int
		status api.HealthStatus
		streak int
	}{
		{1, 1, api.Starting, 0}, // within the start period
		{9, 1, api.Starting, 0},
		{11, 1, api.Starting, 1},
		{12, -1, api.Unhealthy, 2},
		{13, 1, api.Unhealthy, 3},
		{14, 0, api.Healthy, 0},
		{15, 7, api.Healthy, 1},
		{16, 7, api.Unhealthy, 2},
	} {
		old, before := h, len(h.Log)
		h = ck.after(h, &api.HealthcheckResult{Start: start.Add(time.Duration(tc.at) * time.Second), ExitCode: tc.code}, start)
		if h.Status != tc.status || h.FailingStreak != tc.streak || len(h.Log) != min(i+1, maxLog) || h.Log[len(h.Log)-1].ExitCode != tc.code {
			t.Errorf("result %d: %+v", i, h)
		}
		if len(old.Log) != before {
			t.Errorf("result %d changed what was known before", i)
		}
	}
}

func TestBeginning(t *testing.T) {
	start := time.Unix(1000, 0)
	log := func(end time.Time) []*api.HealthcheckResult { return []*api.HealthcheckResult{{End: end}} }
	for name, tc := range map[string]struct {
		old    *api.Health
		status api.HealthStatus
		fresh  bool
		log    int
	}{
		"first start":        {nil, api.Starting, true, 0},
		"never probed":       {&api.Health{Status: api.Unhealthy}, api.Starting, true, 0},
		"started again":      {&api.Health{Status: api.Unhealthy, FailingStreak: 3, Log: log(start.Add(-time.Second))}, api.Starting, true, 1},
		"goes on":            {&api.Health{Status: api.Healthy, Log: log(start.Add(time.Second))}, api.Healthy, false, 1},
		"after being paused": {&api.Health{Status: api.Unhealthy, Log: log(start.Add(time.Second))}, api.Unhealthy, false, 1},
	} {
		h, fresh := beginning(&container.Container{State: container.State{StartedAt: start, Health: tc.old}})
		if h.Status != tc.status || fresh != tc.fresh || len(h.Log) != tc.log || fresh && h.FailingStreak != 0 {
			t.Errorf("%s: %+v, %v", name, h, fresh)
		}
	}
}

func TestFirst(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for name, tc := range map[string]struct {
		last, opened int // seconds after the start; no probe when 0
		want         time.Duration
	}{
		"just started":      {0, -5, 30 * time.Second},
		"the next engine":   {10, 15, 20 * time.Second},
		"long without one":  {10, 100, 0},
		"paused in between": {10, -5, 30 * time.Second},
	} {
		w := &watch{started: start, check: check{interval: 30 * time.Second}, health: &api.Health{Status: api.Healthy}}
		if tc.last > 0 {
			w.health.Log = []*api.HealthcheckResult{{End: at(tc.last)}}
		}
		if got := w.first(at(max(20, tc.opened)), at(tc.opened)); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestOutput(t *testing.T) {
	var o output
	o.add([]byte(strings.Repeat("a", maxOutput-1)))
	if o.add([]byte("b")); o.String() != strings.Repeat("a", maxOutput-1)+"b" {
		t.Errorf("%d bytes", len(o.String()))
	}
	if o.add([]byte("c")); !strings.HasSuffix(o.String(), "b...") || len(o.String()) != maxOutput+3 {
		t.Errorf("%d bytes", len(o.String()))
	}
}

// world is one container, whose probes write and end as told.
type world struct {
	s  *Service
	mu sync.Mutex
	c  *container.Container
	// probe is what a probe does: it may write to the pipe and tells its exit code; negative to go on until killed.
	probe  func(pipe string) (int, error)
	killed int
	events []string
}

func (w *world) Get(string) (*container.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c, nil
}

func (w *world) Update(_ string, change func(*container.Container) error) (*container.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := *w.c
	err := change(&c)
	w.c = &c
	return w.c, err
}

func (w *world) Process(_ context.Context, _ *container.Container, req api.ExecCreateRequest) (*specs.Process, error) {
	return &specs.Process{Args: req.Cmd}, nil
}

func (w *world) Exec(_ context.Context, id, process string, _ *specs.Process, io tasks.IO) (int, error) {
	code, err := w.probe(io.Stdout)
	if err != nil {
		return 0, err
	}
	if code >= 0 {
		go w.s.Exited(tasks.Exit{Container: id, Process: process, Code: code})
	}
	return 1, nil
}

func (w *world) Kill(_ context.Context, id, process string, _ syscall.Signal, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed++
	go w.s.Exited(tasks.Exit{Container: id, Process: process, Code: 137})
	return nil
}

func (w *world) DeleteExec(context.Context, string, string) (*tasks.Exit, error) { return nil, nil }

func (w *world) Status(context.Context, string, string) (tasks.Status, error) {
	return tasks.Status{Exit: &tasks.Exit{Code: 4}}, nil
}

func (w *world) Publish(_ apievents.Type, a apievents.Action, _ string, attrs map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := string(a)
	if code := attrs["exitCode"]; code != "" {
		text += " " + code
	}
	w.events = append(w.events, text)
}

func newWorld(t *testing.T, hc api.HealthConfig, probe func(pipe string) (int, error)) *world {
	t.Helper()
	w := &world{probe: probe, c: &container.Container{
		ID: strings.Repeat("c", 64), Name: "n", Config: &api.Config{Healthcheck: &hc},
		State: container.State{Status: container.Running, StartedAt: time.Now()},
	}}
	var err error
	if w.s, err = Open(filepath.Join(t.TempDir(), "health"), Parts{Records: w, Tasks: w, Processes: w, Events: w}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.s.Close)
	return w
}

// health waits until a container's health is as wanted.
func (w *world) health(t *testing.T, wanted func(*api.Health) bool) *api.Health {
	t.Helper()
	var h *api.Health
	for range 2000 {
		c, _ := w.Get("")
		if h = w.s.Of(c); h != nil && wanted(h) {
			return h
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("it never came; the last was %+v", h)
	return nil
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

func TestProbes(t *testing.T) {
	fast := api.HealthConfig{Test: []string{"CMD", "a", "b"}, Interval: time.Millisecond, Timeout: 20 * time.Millisecond, Retries: 1}
	none := fast
	none.Test = []string{"CMD"}
	for name, tc := range map[string]struct {
		config api.HealthConfig
		probe  func(string) (int, error)
		status api.HealthStatus
		code   int
		output string
	}{
		"passes":          {fast, func(string) (int, error) { return 0, nil }, api.Healthy, 0, ""},
		"writes":          {fast, func(p string) (int, error) { return 2, write(p, "out\n") }, api.Unhealthy, 2, "out\n"},
		"writes too much": {fast, func(p string) (int, error) { return 0, write(p, strings.Repeat("a", 6000)) }, api.Healthy, 0, strings.Repeat("a", 4096) + "..."},
		"cannot start":    {fast, func(string) (int, error) { return 0, errors.New("no such thing") }, api.Unhealthy, -1, "no such thing"},
		"too slow":        {fast, func(string) (int, error) { return -1, nil }, api.Unhealthy, -1, "Health check exceeded timeout (20ms)"},
		"slow and loud":   {fast, func(p string) (int, error) { return -1, write(p, "hm") }, api.Unhealthy, -1, "Health check exceeded timeout (20ms): hm"},
		"no command":      {none, nil, api.Unhealthy, -1, "healthcheck for container " + strings.Repeat("c", 64) + " has no command"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.config, tc.probe)
			w.s.Watch("c")
			h := w.health(t, func(h *api.Health) bool { return h.Status != api.Starting && len(h.Log) > 1 })
			last := h.Log[len(h.Log)-1]
			if h.Status != tc.status || last.ExitCode != tc.code || last.Output != tc.output || last.Start.IsZero() || last.End.Before(last.Start) {
				t.Errorf("%+v, %+v", h, last)
			}
			if c, _ := w.Get(""); c.State.Health.Status != tc.status {
				t.Errorf("the record: %+v", c.State.Health)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t, api.HealthConfig{Test: []string{"CMD", "a", "b"}, Interval: time.Millisecond}, func(string) (int, error) { return 0, nil })
	w.s.Watch("c")
	w.health(t, func(h *api.Health) bool { return len(h.Log) > 2 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := cmp.Diff([]string{"exec_create: a b", "exec_start: a b", "exec_die 0", "health_status: healthy", "exec_create: a b"}, w.events[:5]); d != "" {
		t.Error(d)
	}
}

// When a container ends in the middle of a probe, the probe is ended and its result does not count.
func TestUnwatch(t *testing.T) {
	begun := make(chan struct{}, 1)
	w := newWorld(t, api.HealthConfig{Test: []string{"CMD", "a"}, Interval: time.Millisecond}, func(string) (int, error) {
		begun <- struct{}{}
		return -1, nil
	})
	w.s.Watch("c")
	<-begun
	id := w.c.ID
	w.s.Unwatch(id)
	h := w.health(t, func(h *api.Health) bool { return h.Status == api.Unhealthy })
	if len(h.Log) != 0 {
		t.Errorf("%+v", h)
	}
	for range 2000 {
		if left, _ := os.ReadDir(w.s.dir); len(left) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	left, _ := os.ReadDir(w.s.dir)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(left) != 0 || w.killed != 1 {
		t.Errorf("left: %v, killed %d times", left, w.killed)
	}
}

// An end that no event told is asked for.
func TestReconcile(t *testing.T) {
	begun := make(chan struct{}, 100)
	w := newWorld(t, api.HealthConfig{Test: []string{"CMD", "a"}, Interval: time.Millisecond, Retries: 1}, func(string) (int, error) {
		begun <- struct{}{}
		return -1, nil
	})
	w.s.Watch("c")
	<-begun
	w.s.Reconcile(t.Context())
	if h := w.health(t, func(h *api.Health) bool { return len(h.Log) > 0 }); h.Log[0].ExitCode != 4 {
		t.Errorf("%+v", h.Log[0])
	}
	if w.s.Exited(tasks.Exit{Container: "other", Process: "other"}) {
		t.Error("took a process that is none of its own")
	}
}

func TestNoCheckNoWatch(t *testing.T) {
	w := newWorld(t, api.HealthConfig{Test: []string{"NONE"}}, nil)
	w.s.Watch("c")
	if len(w.s.watched) != 0 || w.s.Of(w.c) != nil {
		t.Error("it is watched")
	}
}

// A probe that was under way when an engine died is taken away by the next one.
func TestProbeOfAnotherEngine(t *testing.T) {
	begun := make(chan struct{}, 1)
	w := newWorld(t, api.HealthConfig{Test: []string{"CMD", "a"}, Interval: time.Hour}, func(string) (int, error) {
		begun <- struct{}{}
		return 0, nil
	})
	if err := w.s.note(w.c.ID, "abc"); err != nil {
		t.Fatal(err)
	}
	next, err := Open(w.s.dir, w.s.Parts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	next.Watch(w.c.ID)
	for range 2000 {
		w.mu.Lock()
		killed := w.killed
		w.mu.Unlock()
		if killed == 1 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("it is left")
}
