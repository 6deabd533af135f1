package stdio

import (
	"context"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/outlive"
)

// Starter starts keepers.
type Starter struct {
	// Dir is the state folder.
	Dir string
	// Program that has the keeper's mode, with arguments that come before it; this program when empty.
	Program []string
	// Build is what a keeper has to be; one of another build is replaced. Empty for any.
	Build string
}

// connect finds the keeper, starts it, or lets a new one take over.
func (s Starter) connect(ctx context.Context) (c *connection, err error) {
	start := outlive.Starter{Dir: s.Dir, Mode: keeper.Argument, Program: s.Program, Build: s.Build}
	err = start.Connect(ctx, func(w *outlive.Wire) (string, error) {
		next := &connection{wire: w, waiting: map[uint64]chan keeper.Reply{}, last: helloID}
		hello, err := next.hello()
		if err != nil {
			return "", err
		}
		next.sessions, next.pid = hello.Sessions, hello.Pid
		c = next
		return hello.Build, nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// helloID is the number of the first request.
const helloID = 1

// hello asks who is there. What the keeper tells before it answers is for later.
func (c *connection) hello() (keeper.Reply, error) {
	r := keeper.HelloRequest()
	r.ID = helloID
	if err := c.wire.Send(r); err != nil {
		return keeper.Reply{}, err
	}
	for {
		var reply keeper.Reply
		if _, err := c.wire.Receive(&reply); err != nil || reply.ID == helloID {
			return reply, err
		}
		c.early = append(c.early, reply)
	}
}
