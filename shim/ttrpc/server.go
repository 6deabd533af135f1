package ttrpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// closeGrace is how long Close waits for calls that are being answered. containerd waits 3 s for Shutdown.
const closeGrace = 2 * time.Second

// Server answers calls of processes of its own user.
type Server struct {
	services map[string]map[string]Method
	grace    time.Duration

	calls sync.WaitGroup // being answered
	done  chan struct{}  // closed when Close has done its work

	mu        sync.Mutex
	closed    bool
	listeners map[*net.UnixListener]struct{}
	conns     map[*serverConn]struct{}
}

// NewServer makes a server without services.
func NewServer() *Server {
	return &Server{
		services:  map[string]map[string]Method{},
		grace:     closeGrace,
		done:      make(chan struct{}),
		listeners: map[*net.UnixListener]struct{}{},
		conns:     map[*serverConn]struct{}{},
	}
}

// Register adds a service, such as containerd.task.v2.Task, before Serve.
func (s *Server) Register(service string, methods map[string]Method) { s.services[service] = methods }

// Serve answers calls until Close, and returns nil when Close has ended; it closes the listener. Peers of another
// user are turned away.
func (s *Server) Serve(l *net.UnixListener) error {
	if !s.addListener(l) {
		l.Close()
		<-s.done
		return nil
	}
	for pause := time.Duration(0); ; {
		conn, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = 0
			s.accept(conn)
		case errors.Is(err, net.ErrClosed):
			if !s.removeListener(l) {
				<-s.done
				return nil
			}
			return err
		default: // such as EMFILE: it may pass, and who gives up can never be reached again
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
			slog.Error("accepting a connection", "error", err, "again in", pause)
			time.Sleep(pause)
		}
	}
}

func (s *Server) addListener(l *net.UnixListener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.listeners[l] = struct{}{}
	}
	return !s.closed
}

// removeListener says whether the server is still open.
func (s *Server) removeListener(l *net.UnixListener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	return !s.closed
}

func (s *Server) accept(conn *net.UnixConn) {
	if err := sameUser(conn); err != nil {
		slog.Warn("a connection is refused", "error", err)
		conn.Close()
		return
	}
	c := newServerConn(s, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	s.conns[c] = struct{}{}
	go c.serve()
}

// sameUser looks at the user that the peer had when it connected.
func sameUser(conn *net.UnixConn) error {
	peer, err := credentials(conn)
	if err != nil {
		return err
	}
	if own := os.Geteuid(); int64(peer.Uid) != int64(own) {
		return fmt.Errorf("the peer, process %d, is of user %d, not %d", peer.Pid, peer.Uid, own)
	}
	return nil
}

// credentials are the peer's: unix(7), SO_PEERCRED.
func credentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, peerErr); err != nil {
		return nil, fmt.Errorf("the peer's credentials: %w", err)
	}
	return peer, nil
}

// begin counts a call, unless the server closes.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls.Add(1)
	}
	return !s.closed
}

func (s *Server) remove(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// AwaitHangUps waits until the callers have closed their connections, at most so long. Who closes first may take
// the last answer back: containerd's client drops one that it has not looked at when the connection ends
// (github.com/containerd/ttrpc, Client.dispatch).
func (s *Server) AwaitHangUps(limit time.Duration) {
	for end := time.Now().Add(limit); s.connected() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func (s *Server) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
}

// Close stops taking calls, ends the contexts of those that are being answered, waits until they are answered (two
// seconds at most), and closes the connections. A method that calls it must do so in a goroutine: its own answer is
// among those waited for.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return
	}
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.cancel()
	}
	s.mu.Unlock()

	answered := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(s.grace):
		slog.Warn("the server closes though calls are unanswered")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.conn.Close()
	}
	close(s.done)
}
