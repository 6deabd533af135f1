package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"path"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/gantry-containers/gantry/engine/names"
)

// uploadMethod is by which the daemon fetches the file behind a URL of a session.
const uploadMethod = "/moby.upload.v1.Upload/Pull"

// uploadURL begins such URLs.
const uploadURL = "http://buildkit-session/"

// hosted is a session of our own, which has one file: the context that came as a request's body.
type hosted struct {
	id, url string
	server  *grpc.Server
	cancel  context.CancelFunc
}

// host opens a session for a file.
func host(ctx context.Context, conn *grpc.ClientConn, file io.Reader) (*hosted, error) {
	h := &hosted{id: names.ID(), server: grpc.NewServer()}
	name := names.ID()
	h.url = uploadURL + name
	h.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "moby.upload.v1.Upload", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Pull", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return give(stream, name, file) },
		}},
	}, nil)
	healthapi.RegisterHealthServer(h.server, health.NewServer())
	ctx, h.cancel = context.WithCancel(metadata.AppendToOutgoingContext(ctx,
		sessionHeader+"uuid", h.id, sessionHeader+"name", "engine", sessionHeader+"grpc-method", uploadMethod))
	stream, err := controlapi.NewControlClient(conn).Session(ctx)
	if err != nil {
		h.cancel()
		return nil, err
	}
	d := &door{arrived: make(chan net.Conn, 1), closed: make(chan struct{})}
	d.arrived <- &tunnel{stream: stream, close: h.cancel}
	go func() { _ = h.server.Serve(d) }() // It ends with the session.
	return h, nil
}

// end ends the session.
func (h *hosted) end() {
	h.server.Stop()
	h.cancel()
}

// give sends the file, once, to who names it.
func give(stream grpc.ServerStream, name string, file io.Reader) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if p := md.Get("urlpath"); len(p) != 1 || path.Base(p[0]) != name {
		return errors.New("no such file")
	}
	buf := make([]byte, chunk)
	for {
		n, err := file.Read(buf)
		if n > 0 {
			// A message is encoded when it is sent: the buffer is free then.
			if err := stream.SendMsg(&controlapi.BytesMessage{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tunnel is a connection in a session's stream.
type tunnel struct {
	stream controlapi.Control_SessionClient
	rest   []byte
	close  func()
}

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		m, err := t.stream.Recv()
		if err != nil {
			return 0, err
		}
		t.rest = m.GetData()
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) {
	if err := t.stream.Send(&controlapi.BytesMessage{Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (t *tunnel) Close() error {
	t.close()
	return nil
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// SetDeadline implements net.Conn. The stream has none.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }
