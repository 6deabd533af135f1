package exec

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	apievents "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/tasks"
)

const (
	// drain is how long output may come after the end: a child of the process may hold the streams open for ever.
	drain = 2 * time.Second
	// undo bounds what is done after an end.
	undo = 30 * time.Second
	// unseen is the exit code of a process whose end nobody saw; killed that of one that ended with its container.
	unseen, killed = 255, 128 + 9
)

// Exited is told that a process ended. It does not wait.
func (s *Service) Exited(e tasks.Exit) {
	if s.Probes != nil && s.Probes.Exited(e) {
		return
	}
	s.mu.Lock()
	p := s.execs[e.Process]
	if p == nil || p.Container != e.Container || p.ExitCode != nil {
		s.mu.Unlock()
		return
	}
	if p.Pid == 0 {
		p.Pid = e.Pid
	}
	s.end(p, e.Code)
	s.mu.Unlock()
	s.save(p.ID)
	go s.finish(p, e.Code)
}

// finish lets the last output out, ends the sessions, and takes the process away from the manager.
func (s *Service) finish(p *process, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), undo)
	defer cancel()
	select {
	case <-p.started: // The start is not over before it was told.
	case <-ctx.Done():
	}
	key := s.keyOf(p)
	if err := s.Keeper.Drained(ctx, key, drain); err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("output of an exec may be lost", "exec", p.ID, "error", err)
	}
	if err := s.Keeper.Close(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("streams of an exec are not closed", "exec", p.ID, "error", err)
	}
	if c, err := s.Records.Get(p.Container); err == nil {
		s.tell(c, apievents.ActionExecDie, p.ID, "exitCode", strconv.Itoa(code))
	}
	if _, err := s.Tasks.DeleteExec(ctx, p.Container, p.ID); err != nil {
		slog.Warn("exec is not deleted", "exec", p.ID, "error", err)
	}
	s.finished(p)
}

// ContainerEnded is told that a container has no processes any more: nor have its execs. Those that never started are
// forgotten.
func (s *Service) ContainerEnded(id string) {
	s.mu.Lock()
	delete(s.specs, id)
	var ended []*process
	for _, p := range s.execs {
		switch {
		case p.Container != id || p.ExitCode != nil:
		case p.Running:
			ended = append(ended, p)
		default:
			s.forget(p.ID)
		}
	}
	s.mu.Unlock()
	for _, p := range ended {
		s.Exited(tasks.Exit{Container: id, Process: p.ID, Code: killed, At: time.Now()})
	}
}

// Reconcile asks the manager what became of the execs that ran: after the start of this engine, and when events may
// have been missed.
func (s *Service) Reconcile(ctx context.Context) {
	if s.Probes != nil {
		s.Probes.Reconcile(ctx)
	}
	s.mu.Lock()
	var list []*process
	for _, p := range s.execs {
		switch {
		case p.Running:
			list = append(list, p)
		case p.unfinished:
			p.unfinished = false
			go s.finish(p, *p.ExitCode)
		}
	}
	s.mu.Unlock()
	for _, p := range list {
		select {
		case <-p.started:
			s.ask(ctx, p)
		default: // Its start, which is under way, tells.
		}
	}
}

// ask asks the manager for an exec. One that it does not know any more has ended somehow.
func (s *Service) ask(ctx context.Context, p *process) {
	st, err := s.Tasks.Status(ctx, p.Container, p.ID)
	switch {
	case err == nil && st.Created:
		// The engine that was about to start it died. Unless it runs by now, it never will.
		if _, err := s.Tasks.DeleteExec(ctx, p.Container, p.ID); err == nil {
			s.Exited(tasks.Exit{Container: p.Container, Process: p.ID, Code: unseen, At: time.Now()})
		}
	case err == nil && st.Exit == nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.Pid == 0 { // The engine that started it died before it knew.
			p.Pid = st.Pid
		}
	case err == nil && st.Exit != nil:
		e := *st.Exit
		e.Container, e.Process = p.Container, p.ID
		s.Exited(e)
	case errdefs.IsNotFound(err):
		s.Exited(tasks.Exit{Container: p.Container, Process: p.ID, Code: unseen, At: time.Now()})
	}
}
