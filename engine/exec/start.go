package exec

import (
	"context"
	"net"
	"time"

	"github.com/containerd/errdefs"
	apievents "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// Start is how an exec is started.
type Start struct {
	// Conn is the client's connection, which belongs to the service from now on; nil to start it detached.
	Conn net.Conn
	// Early is input that was read with the request.
	Early []byte
	// Mux says that the client wants output framed by stream.
	Mux bool
	// ConsoleSize is height and width of the terminal; nil for that of the create.
	ConsoleSize *[2]uint
	// Failed is told why the start failed, before the connection ends.
	Failed func(error)
}

// Start runs an exec. It returns when the process runs; with a connection, session is what waits for the end of the
// client's session.
func (s *Service) Start(ctx context.Context, id string, o Start) (session func(), err error) {
	ctx = context.WithoutCancel(ctx) // Whatever becomes of the client: a process is not left half started.
	ses, err := s.start(ctx, id, &o)
	if err != nil {
		if o.Failed != nil {
			o.Failed(err)
		}
		if o.Conn != nil {
			o.Conn.Close()
		}
		if ses.opened != nil {
			_ = s.Keeper.Close(ctx, *ses.opened) // A session of the client may wait there.
			s.mu.Lock()
			p := s.execs[id]
			s.mu.Unlock()
			if p != nil {
				s.finished(p)
			}
		}
		return nil, err
	}
	return func() { s.follow(id, ses.ended) }, nil
}

// follow waits for the end of a session, and tells when the client left the process by its keys.
func (s *Service) follow(id string, ended <-chan stdio.Ended) {
	if ended == nil {
		return
	}
	if end := <-ended; !end.Detached {
		return
	}
	if _, c, err := s.usable(id); err == nil {
		s.tell(c, apievents.ActionExecDetach, id)
	}
}

// streams are those of an exec that starts.
type streams struct {
	// opened is the key of what the keeper holds; nil for nothing.
	opened *stdio.Key
	// ended tells the end of the client's session; nil without one.
	ended <-chan stdio.Ended
}

// start claims an exec and runs it.
func (s *Service) start(ctx context.Context, id string, o *Start) (ses streams, err error) {
	p, c, err := s.usable(id)
	if err != nil {
		return ses, err
	}
	if err := s.claim(p); err != nil {
		return ses, err
	}
	s.tell(c, action(apievents.ActionExecStart, p), id)
	pid, err := s.run(ctx, c, p, o, &ses)
	s.mu.Lock()
	if err != nil {
		err = s.failed(p, err)
	} else {
		p.Pid = pid
	}
	close(p.started)
	s.mu.Unlock()
	s.save(p.ID)
	return ses, err
}

// claim notes that an exec is being started. The next engine must know: it may run before this one can tell.
func (s *Service) claim(p *process) error {
	s.mu.Lock()
	if p.ExitCode != nil {
		s.mu.Unlock()
		return fault.Errorf(errdefs.ErrConflict, "exec command %s has already run", p.ID)
	}
	if p.Running {
		s.mu.Unlock()
		return fault.Errorf(errdefs.ErrConflict, "exec command %s is already running", p.ID)
	}
	p.Running = true
	s.mu.Unlock()
	s.save(p.ID)
	return nil
}

// run opens the streams, lets the client in, and starts the process.
func (s *Service) run(ctx context.Context, c *container.Container, p *process, o *Start, ses *streams) (pid int, err error) {
	req := p.Request
	if o.ConsoleSize != nil {
		req.ConsoleSize = o.ConsoleSize
	}
	spec, err := s.Process(ctx, c, req)
	if err != nil {
		return 0, err
	}
	attached := o.Conn != nil && (req.AttachStdin || req.AttachStdout || req.AttachStderr)
	var io tasks.IO
	if attached || req.Tty { // What nobody reads goes nowhere; but a terminal must be read by somebody.
		if io, err = s.open(ctx, p, o, attached, ses); err != nil {
			return 0, err
		}
	}
	pid, err = s.Tasks.Exec(ctx, c.ID, p.ID, spec, io)
	if err == nil && o.Conn != nil && !attached {
		o.Conn.Close() // There is nothing to tell: the client sees that it runs.
	}
	return pid, err
}

// open opens the streams. The client comes first, so that it misses nothing.
func (s *Service) open(ctx context.Context, p *process, o *Start, attached bool, ses *streams) (io tasks.IO, err error) {
	key, req := s.keyOf(p), &p.Request
	ses.opened = &key
	if attached {
		a := stdio.Attach{Stdin: req.AttachStdin, Stdout: req.AttachStdout, Stderr: req.AttachStderr, Mux: o.Mux, Early: o.Early}
		if req.Tty {
			a.DetachKeys = p.DetachKeys
			if len(a.DetachKeys) == 0 {
				a.DetachKeys = defaultKeys
			}
		}
		if ses.ended, err = s.Keeper.Attach(ctx, key, a, o.Conn); err != nil {
			return io, err
		}
	}
	return s.Keeper.Open(ctx, stdio.Streams{
		Key: key, Stdin: attached && req.AttachStdin, StdinOnce: true, Terminal: req.Tty,
	})
}

func (s *Service) keyOf(p *process) stdio.Key { return stdio.Key{Container: p.Container, Exec: p.ID} }

// failed notes that an exec could not be started, and gives the error its words. It needs the lock.
func (s *Service) failed(p *process, err error) error {
	code, err := Failure(err)
	if p.ExitCode == nil {
		s.end(p, code)
	} else {
		p.ExitCode = &code
	}
	return err
}

// end sets the exit code. It needs the lock.
func (s *Service) end(p *process, code int) {
	p.Running, p.ExitCode, p.ended = false, &code, time.Now()
	close(p.exited)
	s.sweepLater()
}

// Resize sets the size of an exec's terminal. It waits a while for an exec that is being started.
func (s *Service) Resize(ctx context.Context, id string, width, height uint32) error {
	p, c, err := s.usable(id)
	if err != nil {
		return err
	}
	select {
	case <-p.started:
	case <-time.After(10 * time.Second):
		return errNotReady
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	pid := p.Pid
	s.mu.Unlock()
	if pid == 0 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "exec process is not started")
	}
	return s.Tasks.Resize(context.WithoutCancel(ctx), c.ID, id, width, height)
}
