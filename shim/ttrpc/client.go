package ttrpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	wire "github.com/gantry-containers/gantry/shim/api/ttrpc"
)

// Client is a connection to a server. Its calls may run at the same time.
type Client struct {
	conn  *net.UnixConn
	write chan struct{} // holds a token while a request is written
	done  chan struct{} // closed when the connection is over

	mu    sync.Mutex
	last  uint32 // stream that was opened
	calls map[uint32]chan<- result
	cause error // why it is over
}

// result is what a call gets: a response, or why there is none.
type result struct {
	response *wire.Response
	err      error
}

// Dial connects to a unix socket. It does not wait: a socket whose queue is full refuses. The error's class is
// Unavailable.
func Dial(ctx context.Context, path string) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, Errorf(Unavailable, "%w", err)
	}
	c := &Client{
		conn:  conn,
		write: make(chan struct{}, 1),
		done:  make(chan struct{}),
		calls: map[uint32]chan<- result{},
	}
	go c.read()
	return c, nil
}

// Done is closed when the connection is over.
func (c *Client) Done() <-chan struct{} { return c.done }

// PeerPID is the process that listens on the socket: unix(7), SO_PEERCRED.
func (c *Client) PeerPID() (int, error) {
	peer, err := credentials(c.conn)
	if err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// Call makes a call and waits for the answer. Where the connection breaks, the error is one of class Unavailable;
// else the server's. When the context ends the call is abandoned, and its answer ignored.
func (c *Client) Call(ctx context.Context, service, method string, request, answer Message) error {
	payload, err := request.MarshalVT()
	if err != nil {
		return Errorf(Internal, "%s/%s: the request: %w", service, method, err)
	}
	envelope := &wire.Request{Service: service, Method: method, Payload: payload}
	if end, ok := ctx.Deadline(); ok {
		envelope.TimeoutNano = max(time.Until(end).Nanoseconds(), 1)
	}
	got := make(chan result, 1)
	stream, err := c.send(ctx, envelope, got)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", service, method, err)
	}
	select {
	case r := <-got:
		if r.err != nil {
			return fmt.Errorf("%s/%s: %w", service, method, r.err)
		}
		if s := r.response.GetStatus(); s.GetCode() != int32(OK) {
			return &Error{Code: Code(s.GetCode()), Message: s.GetMessage()}
		}
		if err := answer.UnmarshalVT(r.response.GetPayload()); err != nil {
			return Errorf(Internal, "%s/%s: the answer: %w", service, method, err)
		}
		return nil
	case <-ctx.Done():
		c.forget(stream)
		return fmt.Errorf("%s/%s: %w", service, method, ctx.Err())
	}
}

// send opens a stream and writes the request. Streams must arrive in the order of their numbers, so that both are one
// step.
func (c *Client) send(ctx context.Context, request *wire.Request, got chan<- result) (uint32, error) {
	select {
	case c.write <- struct{}{}:
		defer func() { <-c.write }()
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.done:
		return 0, c.over()
	}
	stream, err := c.open(got)
	if err != nil {
		return 0, err
	}
	b, err := frame(kindRequest, stream, request)
	if err == nil {
		err = c.writeBefore(ctx, b)
	}
	if err != nil {
		c.forget(stream)
		return 0, err
	}
	return stream, nil
}

func (c *Client) open(got chan<- result) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return 0, c.cause
	case c.last == math.MaxUint32:
		return 0, Errorf(Unavailable, "the connection has no streams left")
	case c.last == 0:
		c.last = 1
	default:
		c.last += 2
	}
	c.calls[c.last] = got
	return c.last, nil
}

// writeBefore writes a frame, or ends the connection if the context ends when part of it is written.
func (c *Client) writeBefore(ctx context.Context, b []byte) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		c.conn.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // it fails for a closed connection only
	})
	n, err := c.conn.Write(b)
	if !stop() {
		<-ended
		c.conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // it fails for a closed connection only
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && n == 0:
		return ctx.Err()
	case ctx.Err() != nil:
		err = fmt.Errorf("%d of %d bytes of a request are written: %w", n, len(b), ctx.Err())
	}
	c.end(err)
	return c.over()
}

// read hands the answers to the calls that wait for them.
func (c *Client) read() {
	var small [headerSize]byte
	for {
		h, body, err := readFrame(c.conn, &small)
		if err != nil {
			c.end(err)
			return
		}
		got := c.forget(h.stream)
		if got == nil {
			continue // the call was abandoned
		}
		r := result{response: &wire.Response{}}
		switch {
		case h.length > maxBody:
			r.err = tooLong(int(h.length))
		case h.kind != kindResponse:
			r.err = Errorf(Internal, "the answer is a message of type %d", h.kind)
		default:
			if err := r.response.UnmarshalVT(body); err != nil {
				r.err = Errorf(Internal, "the answer's envelope: %w", err)
			}
		}
		got <- r
	}
}

// forget ends a stream, and returns where its answer would go: nil for one that is not open.
func (c *Client) forget(stream uint32) chan<- result {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.calls[stream]
	delete(c.calls, stream)
	return got
}

// end ends the connection for the first reason given, and all calls with it.
func (c *Client) end(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = Errorf(Unavailable, "the connection is over: %w", reason)
	c.conn.Close()
	for stream, got := range c.calls {
		got <- result{err: c.cause}
		delete(c.calls, stream)
	}
	close(c.done)
}

func (c *Client) over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Close ends the connection, and the calls that wait.
func (c *Client) Close() error {
	c.end(errors.New("closed by its owner"))
	return nil
}
