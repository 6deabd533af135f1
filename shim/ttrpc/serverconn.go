package ttrpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	wire "github.com/gantry-containers/gantry/shim/api/ttrpc"
)

// serverConn is one connection: a goroutine that reads, and one for each call.
type serverConn struct {
	server *Server
	conn   *net.UnixConn
	ctx    context.Context //nolint:containedctx // it is the connection's life
	cancel context.CancelFunc
	last   uint32 // stream that was opened
	small  [headerSize]byte
	write  sync.Mutex
}

func newServerConn(s *Server, conn *net.UnixConn) *serverConn {
	c := &serverConn{server: s, conn: conn}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// serve reads requests until the connection ends. Where that is not for Close, which closes connections when the
// answers are written, the calls lose their contexts.
func (c *serverConn) serve() {
	err := c.read()
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
		slog.Warn("a connection is given up", "error", err)
	}
	c.server.remove(c)
	c.cancel()
	c.conn.Close()
}

func (c *serverConn) read() error {
	for {
		h, body, err := readFrame(c.conn, &c.small)
		if err != nil {
			return err
		}
		if err := c.take(h, body); err != nil {
			c.answer(h.stream, nil, err)
		}
	}
}

// take starts a call. Its error is one that the peer is told.
func (c *serverConn) take(h header, body []byte) error {
	switch {
	case h.length > maxBody:
		return tooLong(int(h.length))
	case h.stream%2 == 0:
		return Errorf(InvalidArgument, "stream %d: a client's streams are odd", h.stream)
	case h.kind != kindRequest:
		return nil // data of a stream that was refused, or a kind that comes to be one day
	case h.stream <= c.last:
		return Errorf(InvalidArgument, "stream %d: not after %d", h.stream, c.last)
	}
	c.last = h.stream
	request := &wire.Request{}
	if err := request.UnmarshalVT(body); err != nil {
		return Errorf(InvalidArgument, "the request's envelope: %w", err)
	}
	methods, ok := c.server.services[request.Service]
	if !ok {
		return Errorf(Unimplemented, "service %s", request.Service)
	}
	method, ok := methods[request.Method]
	if !ok {
		return Errorf(Unimplemented, "method %s of service %s", request.Method, request.Service)
	}
	if h.flags != 0 {
		return Errorf(Unimplemented, "%s/%s: streams are not served", request.Service, request.Method)
	}
	if c.server.begin() {
		go c.call(h.stream, method, request)
	}
	return nil
}

func (c *serverConn) call(stream uint32, method Method, request *wire.Request) {
	defer c.server.calls.Done()
	ctx := withMetadata(c.ctx, request.Metadata)
	if request.TimeoutNano != 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(request.TimeoutNano))
		defer cancel()
		ctx = limited
	}
	payload, err := run(ctx, method, request)
	if c.ctx.Err() != nil && CodeOf(err) == Canceled {
		return // the end of the connection, which follows, says it better
	}
	c.answer(stream, payload, err)
}

// run calls the method. One that panics must not take the containers of all other calls with it.
func run(ctx context.Context, method Method, request *wire.Request) (payload []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("a call panicked", "service", request.Service, "method", request.Method,
				"panic", p, "stack", string(debug.Stack()))
			payload, err = nil, Errorf(Internal, "%s/%s: panic: %v", request.Service, request.Method, p)
		}
	}()
	message, err := method(ctx, request.Payload)
	if err != nil {
		return nil, err
	}
	if message == nil {
		return nil, Errorf(Internal, "%s/%s: no answer", request.Service, request.Method)
	}
	return message.MarshalVT()
}

// answer writes an answer. Part of one would make nonsense of all that follow, so that an error ends the connection.
func (c *serverConn) answer(stream uint32, payload []byte, err error) {
	b, encodeErr := frame(kindResponse, stream, response(payload, err))
	if encodeErr != nil {
		b, encodeErr = frame(kindResponse, stream, response(nil, encodeErr))
	}
	if encodeErr != nil {
		slog.Error("an answer cannot be encoded", "error", encodeErr)
		c.conn.Close()
		return
	}
	c.write.Lock()
	defer c.write.Unlock()
	if _, err := c.conn.Write(b); err != nil {
		c.conn.Close()
	}
}

// maxText keeps an error's text, which may quote what the peer sent, in a frame.
const maxText = 64 << 10

func response(payload []byte, err error) *wire.Response {
	if err == nil {
		return &wire.Response{Payload: payload}
	}
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "\uFFFD") // others refuse strings that are not UTF-8
	return &wire.Response{Status: &wire.Status{Code: int32(CodeOf(err)), Message: text}}
}
