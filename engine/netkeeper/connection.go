package netkeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// connection is a connected netkeeper.
type connection struct {
	wire *outlive.Wire
	pid  int

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]call
	lost    bool
}

// call is a request that waits for its answer. What has succeeded is noted by who receives, before anything else.
type call struct {
	answer chan reply
	note   func(reply)
}

// connect finds the netkeeper, starts it, or lets a new one take over.
func (s Starter) connect(ctx context.Context) (c *connection, err error) {
	start := outlive.Starter{Dir: s.Dir, Mode: Argument, Program: s.Program, Build: s.Build}
	err = start.Connect(ctx, func(w *outlive.Wire) (string, error) {
		if err := w.Send(request{ID: 1, Op: opHello}); err != nil {
			return "", err
		}
		var hello reply
		if _, err := w.Receive(&hello); err != nil {
			return "", err
		}
		c = &connection{wire: w, pid: hello.Pid, last: 1, waiting: map[uint64]call{}}
		return hello.Build, nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *connection) ask(ctx context.Context, r request, note func(reply)) (reply, error) {
	answer := make(chan reply, 1)
	c.mu.Lock()
	if c.lost {
		c.mu.Unlock()
		return reply{}, outlive.ErrLost
	}
	c.last++
	r.ID = c.last
	c.waiting[r.ID] = call{answer, note}
	c.mu.Unlock()
	if err := c.wire.Send(r); err != nil {
		c.wire.Close()
	}
	select {
	case got, ok := <-answer:
		switch {
		case !ok:
			return reply{}, outlive.ErrLost
		case got.InUse != nil:
			return got, got.InUse
		case got.Error != "":
			return got, fmt.Errorf("netkeeper: %w", errors.New(got.Error))
		}
		return got, nil
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// receive takes answers until the netkeeper has gone.
func (c *connection) receive() {
	defer c.wire.Close()
	for {
		var r reply
		if _, err := c.wire.Receive(&r); err != nil {
			return
		}
		c.mu.Lock()
		waiting, ok := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if !ok {
			continue
		}
		if r.Error == "" {
			waiting.note(r)
		}
		waiting.answer <- r
	}
}

func (c *connection) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = true
	for id, waiting := range c.waiting {
		delete(c.waiting, id)
		close(waiting.answer)
	}
}
