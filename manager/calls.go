package manager

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/manager/metrics"
)

// wait is the call that lasts as long as a container: at the end of the manager it is not waited for.
const wait = "/containerd.services.tasks.v1.Tasks/Wait"

// errEnding is what clients get that call, or wait, when the manager ends: they come back to the next one.
var errEnding = status.Error(codes.Unavailable, "the manager is ending")

// calls knows what is being answered. A panic of one answer is that call's error, not the end of all.
type calls struct {
	metrics *metrics.Calls // nil: nobody asked for any

	mu     sync.Mutex
	open   int
	ending chan struct{} // closed when no more calls are taken
	idle   chan struct{} // closed when, after that, none is open
}

func newCalls() *calls {
	return &calls{ending: make(chan struct{}), idle: make(chan struct{})}
}

// begin counts a call, or refuses it.
func (c *calls) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ending:
		return errEnding
	default:
	}
	c.open++
	return nil
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open == 0 {
		select {
		case <-c.ending:
			close(c.idle)
		default:
		}
	}
}

// drain takes no more calls and waits for those that there are, but not longer than limit.
func (c *calls) drain(limit time.Duration) {
	c.mu.Lock()
	select {
	case <-c.ending:
	default:
		close(c.ending)
		if c.open == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.idle:
	case <-timer.C:
		slog.Warn("calls are cut off", "after", limit.String())
	}
}

// unary surrounds the answer to a call that is one message.
func (c *calls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	if c.metrics != nil {
		c.metrics.Started(info.FullMethod, metrics.Unary)
		defer func() { c.metrics.Handled(info.FullMethod, metrics.Unary, status.Code(err)) }()
	}
	if info.FullMethod == wait {
		return c.waiting(ctx, request, info, handler)
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.end()
	defer recovered(info.FullMethod, &err)
	return handler(ctx, request)
}

// waiting is unary for calls that end with the manager.
func (c *calls) waiting(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-c.ending:
			cancel()
		case <-answered:
		}
	}()
	defer recovered(info.FullMethod, &err)
	answer, err = handler(ctx, request)
	select {
	case <-c.ending:
		if err != nil {
			err = errEnding
		}
	default:
	}
	return answer, err
}

// stream surrounds the answer to a call of many messages. Streams are not waited for: the event log ends its
// subscribers, and what is being written is resumed by its client.
func (c *calls) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if c.metrics != nil {
		kind := metrics.Kind(info.IsClientStream, info.IsServerStream)
		c.metrics.Started(info.FullMethod, kind)
		defer func() { c.metrics.Handled(info.FullMethod, kind, status.Code(err)) }()
	}
	defer recovered(info.FullMethod, &err)
	return handler(server, stream)
}

// recovered makes an error of a panic.
func recovered(method string, err *error) {
	if p := recover(); p != nil {
		slog.Error("a call panicked", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s: internal fault, see the manager's log: %v", method, p)
	}
}
