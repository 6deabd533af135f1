package cni

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/outlive"
)

// Networks does what plug-ins ask for. *networks.Service is it.
type Networks interface {
	JoinStep(ctx context.Context, step, namespace, device string) (*networks.Place, error)
	// Step is nil for one that has nothing.
	Step(step string) *networks.Place
	LeaveStep(ctx context.Context, step string) error
}

// acceptAgain is how long a socket that fails is left alone.
const acceptAgain = 50 * time.Millisecond

// Server is the engine's end.
type Server struct {
	networks Networks
	path     string
	l        *net.UnixListener
	ctx      context.Context //nolint:containedctx // it is the life of all connections
	cancel   func()
	open     sync.WaitGroup
}

// Listen answers plug-ins at a socket, until Close. The socket is for root alone, and so should its folder be.
func Listen(path string, n Networks) (*Server, error) {
	l, err := outlive.Listen(path)
	if err != nil {
		return nil, err
	}
	s := &Server{networks: n, path: path, l: l}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.open.Go(s.accept)
	return s, nil
}

// Close ends connections, but nothing that is being done.
func (s *Server) Close() error {
	s.cancel()
	err := s.l.Close()
	s.open.Wait()
	if gone := os.Remove(s.path); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.l.AcceptUnix()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			slog.Error("steps of builds cannot ask for their networks", "error", err)
			time.Sleep(acceptAgain) // Too many files are open, perhaps.
			continue
		}
		s.open.Go(func() {
			stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			if err := s.serve(conn); err != nil {
				slog.Warn("a step of a build did not hear of its network", "error", err)
			}
		})
	}
}

// serve answers one question. What nobody has heard of is taken away again.
func (s *Server) serve(conn *net.UnixConn) error {
	if err := errors.Join(outlive.Trusted(conn), conn.SetDeadline(time.Now().Add(patience))); err != nil {
		return err
	}
	var r request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return err
	}
	a, err := s.do(r)
	if err != nil {
		slog.Error("network of a build's step", "command", r.Command, "step", r.Step, "error", err)
		a.Error = err.Error()
	}
	err = json.NewEncoder(conn).Encode(a)
	if err != nil && a.Result != nil {
		err = errors.Join(err, s.networks.LeaveStep(context.WithoutCancel(s.ctx), r.Step))
	}
	return err
}

func (s *Server) do(r request) (a answer, err error) {
	ctx := context.WithoutCancel(s.ctx)
	switch r.Command {
	case "ADD":
		p, err := s.networks.JoinStep(ctx, r.Step, r.Namespace, r.Device)
		if err != nil {
			return a, err
		}
		a.Result = resultOf(p, r.Namespace)
		return a, nil
	case "DEL":
		return a, s.networks.LeaveStep(ctx, r.Step)
	case "CHECK":
		if s.networks.Step(r.Step) == nil {
			return a, errors.New("it has none")
		}
		return a, nil
	}
	return a, errors.New("unknown command " + r.Command)
}
