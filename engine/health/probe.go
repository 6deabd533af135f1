package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	apievents "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/tasks"
)

const (
	// startLimit bounds how long the manager may take to start a probe: that is not the probe's fault.
	startLimit = 30 * time.Second
	// killLimit bounds the end of a probe: that it is dead when it was killed, and that it is deleted.
	killLimit = 10 * time.Second
)

// probe is one run of a health check.
type probe struct {
	id    string
	watch *watch
	out   *pipe
	// exit is set by the event; done is closed then.
	exit *tasks.Exit
	done chan struct{}
}

// kick wakes the reader.
func (p *probe) kick() { _ = p.out.file.SetReadDeadline(time.Unix(1, 0)) }

// run is one probe, from the timer to the timer.
func (s *Service) run(w *watch) {
	c, err := s.Records.Get(w.id)
	if err != nil || c.State.Status != container.Running {
		// Unwatch comes, as a rule. Somebody may have paused it without us.
		s.arm(w, w.check.interval)
		return
	}
	start := time.Now()
	r, err := s.try(c, w)
	if err != nil {
		r = &api.HealthcheckResult{ExitCode: -1, Output: err.Error()}
	}
	r.Start, r.End = start, time.Now()
	s.mu.Lock()
	if w.stopped {
		w.closePipe()
		s.mu.Unlock()
		return
	}
	if err != nil {
		slog.Warn("health check", "container", w.id, "error", err)
	}
	old := w.health
	w.health = w.check.after(old, r, w.started)
	h := w.health
	s.mu.Unlock()
	if old.Status != h.Status {
		s.persist(w.id, h)
		s.Events.Publish(apievents.ContainerEventType, apievents.ActionHealthStatus+": "+apievents.Action(h.Status), w.id, c.EventAttributes())
	}
	s.arm(w, w.check.pause(time.Since(w.started), h.Status))
}

// try runs the command of a check. An error means that it could not be run.
func (s *Service) try(c *container.Container, w *watch) (*api.HealthcheckResult, error) {
	if len(w.check.cmd) == 0 {
		return nil, fmt.Errorf("healthcheck for container %s has no command", c.ID)
	}
	p, err := s.prepare(c, w)
	if err != nil {
		return nil, err
	}
	defer s.forget(p)
	cmd := apievents.Action(w.check.cmd[0] + " " + strings.Join(w.check.cmd[1:], " "))
	s.tell(c, apievents.ActionExecCreate+": "+cmd, p)
	s.tell(c, apievents.ActionExecStart+": "+cmd, p)
	var o output
	p.out.rest(&output{}) // What a child of the last probe wrote since.
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := s.note(c.ID, p.id); err != nil {
		return nil, err
	}
	if _, err := s.Tasks.Exec(ctx, c.ID, p.id, w.process, tasks.IO{Stdout: p.out.path, Stderr: p.out.path}); err != nil {
		s.unnote(c.ID, p.id)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("timed out starting health check for container %s", c.ID)
		}
		s.renew(w)
		return nil, err
	}
	late := s.wait(p, &o)
	exit := s.finish(c, p, &o, late)
	switch text := o.String(); {
	case late && text == "":
		return &api.HealthcheckResult{ExitCode: -1, Output: fmt.Sprintf("Health check exceeded timeout (%v)", w.check.timeout)}, nil
	case late:
		return &api.HealthcheckResult{ExitCode: -1, Output: fmt.Sprintf("Health check exceeded timeout (%v): %s", w.check.timeout, text)}, nil
	case exit == nil:
		return nil, fmt.Errorf("healthcheck for container %s has no exit code", c.ID)
	default:
		return &api.HealthcheckResult{ExitCode: exit.Code, Output: text}, nil
	}
}

// prepare makes what a probe needs: the process and the pipe the first time, and a name.
func (s *Service) prepare(c *container.Container, w *watch) (*probe, error) {
	if w.process == nil { // Only this goroutine looks: there is one probe at a time.
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		p, err := s.Processes.Process(ctx, c, api.ExecCreateRequest{Cmd: w.check.cmd, AttachStdout: true, AttachStderr: true})
		if err != nil {
			return nil, err
		}
		w.process = p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.stopped {
		return nil, errors.New("the container is not watched any more")
	}
	if w.out == nil {
		out, err := openPipe(filepath.Join(s.dir, c.ID[:min(12, len(c.ID))]+"."+strconv.FormatInt(time.Now().UnixNano(), 36)))
		if err != nil {
			return nil, err
		}
		w.out = out
	}
	p := &probe{id: names.ID(), watch: w, out: w.out, done: make(chan struct{})}
	s.probes[p.id] = p
	return p, nil
}

// renew lets the next probe have a new pipe: somebody may have removed this one.
func (s *Service) renew(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.closePipe()
}

func (s *Service) forget(p *probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.probes, p.id)
}

// wait reads output until the probe ended, and says whether it was not in time, or not wanted any more.
func (s *Service) wait(p *probe, o *output) (late bool) {
	s.mu.Lock()
	ended := p.exit != nil || p.watch.stopped
	if !ended {
		_ = p.out.file.SetReadDeadline(time.Now().Add(p.watch.check.timeout))
	}
	s.mu.Unlock()
	if !ended {
		p.out.read(o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.exit == nil
}

// finish ends a probe that has not, takes the process away from the manager, and collects the last output.
func (s *Service) finish(c *container.Container, p *probe, o *output, kill bool) *tasks.Exit {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	if kill {
		if err := s.Tasks.Kill(ctx, c.ID, p.id, syscall.SIGKILL, false); err != nil && !errdefs.IsNotFound(err) {
			slog.Warn("health check is not killed", "container", c.ID, "error", err)
		}
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}
	// It waits for the output to be written, for a bounded time: a child of the probe may hold the pipe open.
	if _, err := s.Tasks.DeleteExec(ctx, c.ID, p.id); err != nil {
		slog.Debug("health check is not deleted", "container", c.ID, "error", err) // It goes with the container.
	} else {
		s.unnote(c.ID, p.id)
	}
	p.out.rest(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.exit != nil {
		s.tell(c, apievents.ActionExecDie, p, "exitCode", strconv.Itoa(p.exit.Code))
	}
	return p.exit
}

func (s *Service) tell(c *container.Container, action apievents.Action, p *probe, pairs ...string) {
	s.Events.Publish(apievents.ContainerEventType, action, c.ID, c.EventAttributes(append(pairs, "execID", p.id)...))
}

// Exited is told that a process ended, and says whether it was a probe.
func (s *Service) Exited(e tasks.Exit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.probes[e.Process]
	if p == nil || p.watch.id != e.Container {
		return false
	}
	if p.exit == nil {
		p.exit = &e
		close(p.done)
		p.kick()
	}
	return true
}

// Reconcile asks the manager for the probes under way: events may have been missed.
func (s *Service) Reconcile(ctx context.Context) {
	s.mu.Lock()
	list := make([]*probe, 0, len(s.probes))
	for _, p := range s.probes {
		list = append(list, p)
	}
	s.mu.Unlock()
	for _, p := range list {
		if st, err := s.Tasks.Status(ctx, p.watch.id, p.id); err == nil && st.Exit != nil {
			e := *st.Exit
			e.Container, e.Process = p.watch.id, p.id
			s.Exited(e)
		}
	}
}
