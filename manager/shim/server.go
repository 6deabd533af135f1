package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// server is a process that serves one bundle or several, and the connection to it. The first bundle's names are enough
// to ask it who it is.
type server struct {
	address       string
	version       int // of the task service
	pid           int
	process       *process // nil where the pid is unknown
	id, namespace string
	binary        string // that was started; "" where it is unknown
	limits        limits

	gone  chan struct{} // closed when the server is dead
	dying sync.Once

	mu      sync.Mutex
	client  *ttrpc.Client // nil while there is no connection
	changed chan struct{} // closed when client or closed changes
	closed  bool          // given up by us
	refs    int           // the launcher's lock guards it
}

// link is a new connection, and what its server has said of itself.
type link struct {
	client  *ttrpc.Client
	lost    chan struct{} // closed when the connection has ended
	version int
	pid     int
}

// connect finds the server of an answer and takes a reference to it. Several bundles share what is one process. A child of
// this process, which is watched already, is given.
func (l *Launcher) connect(ctx context.Context, b *bundle.Bundle, a *bootapi.BootstrapResult, child *process) (*server, error) {
	found, err := open(ctx, a.Address, int(a.Version), b)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.servers[a.Address]; s != nil && found.pid != 0 && s.pid == found.pid && s.alive() {
		found.client.Close() //nolint:errcheck // the other connection is as good
		s.refs++
		return s, nil
	}
	s := &server{
		address: a.Address, version: found.version, pid: found.pid, id: b.ID, namespace: b.Namespace, limits: l.limits,
		gone: make(chan struct{}), changed: make(chan struct{}), client: found.client, refs: 1,
	}
	s.binary, _ = binaryOf(b) // a sandbox's may be another's business
	if child != nil && child.pid == s.pid {
		s.process = child
	} else if s.pid > 1 {
		s.process, _ = watch(s.pid) // one that has ended is found so by the connection
	}
	l.servers[a.Address] = s
	go s.keep(found)
	return s, nil
}

// release gives a reference back; the last one ends the connection.
func (l *Launcher) release(s *server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return
	}
	if l.servers[s.address] == s {
		delete(l.servers, s.address)
	}
	s.hangUp()
	if s.process != nil {
		s.process.leave()
	}
}

// alone tells that nobody else has a reference.
func (l *Launcher) alone(s *server) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.refs <= 1
}

// open connects and asks the server who it is. A version 3 that it does not serve becomes 2.
func open(ctx context.Context, address string, version int, b *bundle.Bundle) (*link, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	n := &link{lost: make(chan struct{}), version: version}
	n.client = ttrpc.NewClient(conn, ttrpc.WithOnClose(func() { close(n.lost) }))
	for {
		var answer taskv3.ConnectResponse
		err := n.client.Call(withMetadata(ctx, b.Namespace), service(n.version), "Connect", &taskv3.ConnectRequest{ID: b.ID}, &answer)
		code := status.Code(err)
		switch {
		case err == nil:
			n.pid = int(answer.ShimPid)
			return n, nil
		case code == codes.Unimplemented && n.version == 3:
			n.version = 2
			continue
		case answered(err) && code != codes.Unimplemented:
			return n, nil // it lives, and has its reasons
		}
		n.client.Close() //nolint:errcheck // it is not used
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the shim at %s does not answer: %w", address, ctx.Err())
		}
		return nil, fmt.Errorf("the shim at %s: %w", address, native(err))
	}
}

// answered tells an error that the server sent from those of the connection and the call.
func answered(err error) bool {
	_, is := status.FromError(err)
	return is && !errors.Is(err, ttrpc.ErrClosed)
}

func service(version int) string { return fmt.Sprintf("containerd.task.v%d.Task", version) }

// keep watches over the connection, and makes it again.
func (s *server) keep(n *link) {
	for {
		<-n.lost
		if !s.set(nil) {
			return
		}
		n = s.reopen()
		switch {
		case n == nil && s.wanted():
			s.die()
			return
		case n == nil:
			return
		case !s.set(n.client):
			n.client.Close() //nolint:errcheck // it is not used
			return
		}
	}
}

// reopen connects again; nil if that is not to be had from the same process, or not wanted any more.
func (s *server) reopen() *link {
	b := &bundle.Bundle{ID: s.id, Namespace: s.namespace}
	deadline := time.Now().Add(s.limits.patience)
	for pause := time.Millisecond; s.wanted(); pause = min(2*pause, 100*time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.answer)
		n, err := open(ctx, s.address, s.version, b)
		cancel()
		switch {
		case err == nil && n.pid == s.pid:
			return n
		case err == nil: // another one has the address now
			n.client.Close() //nolint:errcheck // it is not used
			return nil
		case s.ended(), s.process == nil && errdefs.IsNotFound(err):
			return nil
		case errors.Is(err, context.DeadlineExceeded): // it takes connections: it is there, and slow
			deadline = time.Now().Add(s.limits.patience)
		case time.Now().After(deadline):
			return nil
		}
		if s.wait(pause) {
			return nil
		}
	}
	return nil
}

// ended tells whether the process has.
func (s *server) ended() bool { return s.wait(0) }

// wait waits for the process's end, so long at most, and tells whether it has ended. That of an unknown one is not seen.
func (s *server) wait(limit time.Duration) bool {
	if s.process == nil {
		time.Sleep(limit)
		return false
	}
	if s.process.gone() {
		return true
	}
	over := time.NewTimer(limit)
	defer over.Stop()
	select {
	case <-s.process.ended.Done():
		return true
	case <-over.C:
		return false
	}
}

func (s *server) alive() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

func (s *server) die() { s.dying.Do(func() { close(s.gone) }) }

// wanted tells that nobody has given the connection up.
func (s *server) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed
}

// set notes the connection, and says whether anybody wants one.
func (s *server) set(client *ttrpc.Client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.client = client
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

// hangUp ends the connection for good.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.changed)
	if s.client != nil {
		s.client.Close() //nolint:errcheck // there is nobody to tell
	}
	s.client = nil
}

func (s *server) currentClient() *ttrpc.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// connected waits for a connection, other than a client that has failed.
func (s *server) connected(ctx context.Context, failed *ttrpc.Client) (*ttrpc.Client, error) {
	for {
		s.mu.Lock()
		client, changed, closed := s.client, s.changed, s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return nil, fmt.Errorf("the connection to the shim of %q is closed: %w", s.id, errdefs.ErrUnavailable)
		case client != nil && client != failed:
			return client, nil
		}
		select {
		case <-changed:
		case <-s.gone:
			return nil, fmt.Errorf("the shim of %q is gone: %w", s.id, errdefs.ErrUnavailable)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
