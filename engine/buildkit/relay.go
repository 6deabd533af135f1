package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Relay answers BuildKit's clients: it passes on what they ask and what they are answered, but for requests to build,
// which it makes fit.
type Relay struct {
	service *Service
	server  *grpc.Server
	door    *door
}

// NewRelay is a relay to the daemon of a service.
func NewRelay(s *Service) *Relay {
	const most = 16 << 20
	r := &Relay{service: s, door: &door{arrived: make(chan net.Conn), closed: make(chan struct{})}}
	r.server = grpc.NewServer(grpc.ForceServerCodecV2(frames{}), grpc.UnknownServiceHandler(r.handle),
		grpc.MaxRecvMsgSize(most), grpc.MaxSendMsgSize(most))
	go func() { _ = r.server.Serve(r.door) }() // It ends with the door.
	return r
}

// Close ends all connections.
func (r *Relay) Close() error {
	r.server.Stop()
	return r.door.Close()
}

// ServeHTTP answers calls that come by HTTP/2.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.server.ServeHTTP(w, req) }

// Serve answers calls that come by a connection, which is the relay's from then on.
func (r *Relay) Serve(conn net.Conn) {
	select {
	case r.door.arrived <- conn:
	case <-r.door.closed:
		_ = conn.Close()
	}
}

// door is a listener for connections that are there already.
type door struct {
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.arrived:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// frame is a message as it came.
type frame struct{ bytes []byte }

// frames is a codec that leaves messages as they are.
type frames struct{}

// Marshal implements encoding.CodecV2.
func (frames) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, errors.New("not a message that is passed on")
	}
	return mem.BufferSlice{mem.SliceBuffer(f.bytes)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (frames) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return errors.New("not a message that is passed on")
	}
	f.bytes = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2: messages are what they always are in gRPC.
func (frames) Name() string { return "proto" }

// handle answers any call.
func (r *Relay) handle(_ any, client grpc.ServerStream) error {
	ctx := client.Context()
	method, _ := grpc.MethodFromServerStream(client)
	conn, release, err := r.service.Use(ctx)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer release()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	if method == controlapi.Control_Solve_FullMethodName {
		return r.solve(ctx, client, conn)
	}
	return pass(ctx, client, conn, method)
}

// pass passes a call on, in both directions, until the daemon ends it.
func pass(ctx context.Context, client grpc.ServerStream, conn *grpc.ClientConn, method string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	daemon, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(frames{}))
	if err != nil {
		return err
	}
	go func() {
		for {
			var f frame
			if err := client.RecvMsg(&f); err != nil {
				if errors.Is(err, io.EOF) {
					_ = daemon.CloseSend() // What the daemon makes of it is in its answer.
				} else {
					cancel()
				}
				return
			}
			if daemon.SendMsg(&f) != nil {
				return // Its answer tells why.
			}
		}
	}()
	header, err := daemon.Header()
	if err == nil {
		err = client.SendHeader(header)
	}
	for err == nil {
		var f frame
		if err = daemon.RecvMsg(&f); err == nil {
			err = client.SendMsg(&f)
		}
	}
	client.SetTrailer(daemon.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
