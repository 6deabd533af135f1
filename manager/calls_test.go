package manager

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/manager/metrics"
)

func info(method string) *grpc.UnaryServerInfo { return &grpc.UnaryServerInfo{FullMethod: method} }

func TestPanicIsOneCallsError(t *testing.T) {
	c := newCalls()
	c.metrics = &metrics.Calls{}
	_, err := c.unary(t.Context(), nil, info("/S/M"), func(context.Context, any) (any, error) { panic("boom") })
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "boom") {
		t.Errorf("unary: %v", err)
	}
	err = c.stream(nil, nil, &grpc.StreamServerInfo{FullMethod: "/S/M"}, func(any, grpc.ServerStream) error { panic("boom") })
	if status.Code(err) != codes.Internal {
		t.Errorf("stream: %v", err)
	}
	for _, f := range c.metrics.Families() {
		if len(f.Samples) != 2 {
			t.Errorf("%s has %d samples, want those of two calls", f.Name, len(f.Samples))
		}
	}
	c.drain(time.Hour) // returns: neither counts as open
}

func TestDrain(t *testing.T) {
	c := newCalls()
	begun, goOn, answered := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := c.unary(t.Context(), nil, info("/S/Create"), func(context.Context, any) (any, error) {
			close(begun)
			<-goOn
			return nil, nil
		})
		answered <- err
	}()
	<-begun
	waited := make(chan error)
	waiting := make(chan struct{})
	go func() {
		_, err := c.unary(t.Context(), nil, info(wait), func(ctx context.Context, _ any) (any, error) {
			close(waiting)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		waited <- err
	}()
	<-waiting
	drained := make(chan struct{})
	go func() {
		c.drain(time.Hour)
		close(drained)
	}()
	// Who waits for a container's end is told at once, while another call is still being answered.
	if err := <-waited; status.Code(err) != codes.Unavailable {
		t.Errorf("Wait: %v", err)
	}
	_, err := c.unary(t.Context(), nil, info("/S/Late"), func(context.Context, any) (any, error) { return nil, errors.New("was called") })
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a call after the end: %v", err)
	}
	select {
	case <-drained:
		t.Error("drained with an open call")
	default:
	}
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("the open call: %v", err)
	}
	<-drained
	c.drain(time.Hour) // can be repeated
}

func TestDrainHasALimit(t *testing.T) {
	c := newCalls()
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	c.drain(time.Millisecond)
}

func TestWaitThatAnswers(t *testing.T) {
	c := newCalls()
	answer, err := c.unary(t.Context(), nil, info(wait), func(context.Context, any) (any, error) { return 7, nil })
	if answer != 7 || err != nil {
		t.Errorf("Wait: %v, %v", answer, err)
	}
	_, err = c.unary(t.Context(), nil, info(wait), func(context.Context, any) (any, error) { return nil, status.Error(codes.NotFound, "x") })
	if status.Code(err) != codes.NotFound {
		t.Errorf("Wait for nothing: %v", err)
	}
}
