package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/metadata"
)

// sessionHeader begins the headers that tell what a session is and can do.
const sessionHeader = "x-docker-expose-session-"

// Session is a connection over which the daemon asks a client for files, secrets and credentials.
type Session struct {
	stream  controlapi.Control_SessionClient
	cancel  context.CancelFunc
	release func()
}

// Session opens a session, as the headers of a client's request tell.
func (r *Relay) Session(ctx context.Context, headers map[string][]string) (*Session, error) {
	conn, release, err := r.service.Use(ctx)
	if err != nil {
		return nil, err
	}
	md := metadata.MD{}
	for name, values := range headers {
		if name = strings.ToLower(name); strings.HasPrefix(name, sessionHeader) {
			md[name] = values
		}
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, md))
	stream, err := controlapi.NewControlClient(conn).Session(ctx)
	if err != nil {
		cancel()
		release()
		return nil, err
	}
	return &Session{stream: stream, cancel: cancel, release: release}, nil
}

// Close ends a session.
func (s *Session) Close() {
	s.cancel()
	s.release()
}

// chunk is how much is passed on at once, in bytes.
const chunk = 64 << 10

// Pass passes bytes on until the daemon ends the session. The connection is closed then.
func (s *Session) Pass(conn net.Conn) error {
	defer conn.Close()
	go s.send(conn)
	for {
		m, err := s.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if _, err := conn.Write(m.GetData()); err != nil {
			return nil // A client that has what it wanted goes without a word.
		}
	}
}

// send passes on what the client says. When that is nothing more, the daemon ends the session.
func (s *Session) send(conn net.Conn) {
	buf := make([]byte, chunk)
	for {
		n, err := conn.Read(buf)
		if n > 0 && s.stream.Send(&controlapi.BytesMessage{Data: buf[:n]}) != nil {
			return // Recv tells why.
		}
		if err != nil {
			_ = s.stream.CloseSend()
			return
		}
	}
}
