package streaming

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	api "github.com/containerd/containerd/api/services/streaming/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// naming is how long a client may take to name its stream.
const naming = 30 * time.Second

// Service takes the streams of clients. A stream is there for the requests that name it until one of them closes it,
// its client goes, or the manager's Sweep finds that its lease has gone or that nobody wants it.
type Service struct {
	api.UnimplementedStreamingServer
	manager *Manager
	naming  time.Duration
}

// New makes the service over the manager that has the streams.
func New(manager *Manager) *Service {
	return &Service{manager: manager, naming: naming}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterStreamingServer(server, s) }

// Stream registers a stream under the name in its first message, and returns when the stream has ended.
func (s *Service) Stream(server api.Streaming_StreamServer) error {
	ctx := server.Context()
	name, err := s.name(server)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	remote := &remote{server: server, closed: make(chan struct{})}
	e, err := s.manager.register(ctx, name, remote)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	defer e.Close() //nolint:errcheck // it ends the stream that ends here

	ready, err := typeurl.MarshalAnyToProto(&emptypb.Empty{})
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	if err := server.Send(ready); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-remote.closed:
	}
	return nil
}

// name reads the first message. The goroutine that waits for one ends with the stream, which ends when this fails.
func (s *Service) name(server api.Streaming_StreamServer) (string, error) {
	type result struct {
		first *anypb.Any
		err   error
	}
	received := make(chan result, 1)
	go func() {
		first, err := server.Recv()
		received <- result{first, err}
	}()
	limit := time.NewTimer(s.naming)
	defer limit.Stop()
	select {
	case r := <-received:
		if r.err != nil {
			return "", r.err
		}
		var init api.StreamInit
		if err := typeurl.UnmarshalTo(r.first, &init); err != nil {
			return "", fmt.Errorf("first message: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		return init.ID, nil
	case <-limit.C:
		return "", fmt.Errorf("no name of the stream after %v: %w", s.naming, errdefs.ErrFailedPrecondition)
	}
}

// remote is the stream of a client.
type remote struct {
	server api.Streaming_StreamServer
	send   sync.Mutex // gRPC forbids two senders; those of a transfer do not know of each other
	once   sync.Once
	closed chan struct{}
}

// Send sends a message to the client.
func (r *remote) Send(a typeurl.Any) error {
	r.send.Lock()
	defer r.send.Unlock()
	select {
	case <-r.closed:
		return io.EOF
	default:
	}
	return native(r.server.Send(typeurl.MarshalProto(a)))
}

// Recv waits for a message of the client; io.EOF says that it will send no more.
func (r *remote) Recv() (typeurl.Any, error) {
	a, err := r.server.Recv()
	if err != nil {
		return nil, native(err)
	}
	return a, nil
}

// Close ends the stream; the client reads io.EOF.
func (r *remote) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func native(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	return errgrpc.ToNative(err)
}
