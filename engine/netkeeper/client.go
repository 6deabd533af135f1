package netkeeper

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// Starter starts netkeepers.
type Starter struct {
	// Dir is the state folder.
	Dir string
	// Program that has the netkeeper's mode, with arguments that come before it; this program when empty.
	Program []string
	// Build is what a netkeeper has to be; one of another build is replaced. Empty for any.
	Build string
}

// Client is the netkeeper process, as the engine talks to it. It is started when it is missing, found when it lives.
// When it dies, another one is started, and told what this engine has published and answered.
type Client struct {
	starter Starter
	stop    context.CancelFunc
	done    chan struct{}

	mu        sync.Mutex
	published map[string][]Port
	sandboxes map[string]Sandbox
	// conn is nil between two netkeepers; ready is closed when there is one.
	conn  *connection
	ready chan struct{}
	ended error
}

// Find connects to the netkeeper of a state folder; it starts one when none answers, and lets one of this build take
// over when another one does. It may have more than the engine knows of, or less: List tells.
func Find(ctx context.Context, dir string) (*Client, error) {
	return FindWith(ctx, Starter{Dir: dir, Build: outlive.Build()})
}

// FindWith is Find for a netkeeper that is started in another way.
func FindWith(ctx context.Context, s Starter) (*Client, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &Client{
		starter: s, stop: stop, done: make(chan struct{}), ready: make(chan struct{}),
		published: map[string][]Port{}, sandboxes: map[string]Sandbox{},
	}
	k.begin(c)
	go k.live(life, c)
	return k, nil
}

// Publish listens on ports, on all of them or none, and tells the numbers that were chosen: those of one call get the
// same one. What the owner has already goes to the container's address that is named now. When it fails without an
// answer, the ports may be held: Unpublish them.
func (k *Client) Publish(ctx context.Context, owner string, group ...Port) ([]Port, error) {
	r, err := k.ask(ctx, request{Op: opPublish, Owner: owner, Call: rand.Text(), Ports: group}, func(r reply) {
		list := slices.DeleteFunc(slices.Clone(k.published[owner]), func(p Port) bool { return slices.ContainsFunc(r.Ports, p.Same) })
		k.published[owner] = append(list, r.Ports...)
	})
	return r.Ports, err
}

// Unpublish ends ports of an owner, all when none is named, and their connections.
func (k *Client) Unpublish(ctx context.Context, owner string, list ...Port) error {
	_, err := k.ask(ctx, request{Op: opUnpublish, Owner: owner, Ports: list}, func(reply) {
		rest := slices.DeleteFunc(slices.Clone(k.published[owner]), func(p Port) bool { return len(list) == 0 || slices.ContainsFunc(list, p.Same) })
		if k.published[owner] = rest; len(rest) == 0 {
			delete(k.published, owner)
		}
	})
	return err
}

// Answer answers names in a sandbox, or changes what is known of it. It keeps the network namespace alive until Forget.
func (k *Client) Answer(ctx context.Context, s Sandbox) error {
	_, err := k.ask(ctx, request{Op: opAnswer, Owner: s.ID, Sandbox: &s}, func(reply) { k.sandboxes[s.ID] = s })
	return err
}

// Forget answers no more in a sandbox, nor for it in others.
func (k *Client) Forget(ctx context.Context, id string) error {
	_, err := k.ask(ctx, request{Op: opForget, Owner: id}, func(reply) { delete(k.sandboxes, id) })
	return err
}

// List is all that the netkeeper has, also from engines before.
func (k *Client) List(ctx context.Context) (List, error) {
	r, err := k.ask(ctx, request{Op: opList}, func(reply) {})
	if err != nil || r.List == nil {
		return List{}, err
	}
	return *r.List, nil
}

// Pid is the process id of the netkeeper that is connected; 0 between two.
func (k *Client) Pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil {
		return 0
	}
	return k.conn.pid
}

// Disconnect ends the connection to the netkeeper, which goes on.
func (k *Client) Disconnect() {
	k.stop()
	<-k.done
}

// ask sends a request and waits for its answer. When the netkeeper dies meanwhile, the next one is asked. What has
// succeeded is noted before the connection's end is: the next netkeeper is told of it, or asked for it.
func (k *Client) ask(ctx context.Context, r request, note func(reply)) (reply, error) {
	for {
		c, err := k.connection(ctx)
		if err != nil {
			return reply{}, err
		}
		answer, err := c.ask(ctx, r, func(r reply) {
			k.mu.Lock()
			defer k.mu.Unlock()
			note(r)
		})
		if !errors.Is(err, outlive.ErrLost) {
			return answer, err
		}
	}
}

// connection waits for one.
func (k *Client) connection(ctx context.Context) (*connection, error) {
	for {
		k.mu.Lock()
		c, ready, err := k.conn, k.ready, k.ended
		k.mu.Unlock()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// live serves one connection after the other; the first has begun.
func (k *Client) live(ctx context.Context, c *connection) {
	defer close(k.done)
	for {
		unhook := context.AfterFunc(ctx, c.wire.Close)
		c.receive()
		unhook()
		k.lose(c)
		next, err := outlive.Until(ctx, "the netkeeper cannot be started", func() (*connection, error) { return k.starter.connect(ctx) })
		if err != nil {
			k.mu.Lock()
			k.ended = err
			close(k.ready)
			k.mu.Unlock()
			return
		}
		k.begin(next)
		c = next
	}
}

// begin makes a connection the one that is asked, after what this engine wants was told again.
func (k *Client) begin(c *connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for owner, list := range k.published {
		for _, p := range list {
			k.tell(c, request{Op: opPublish, Owner: owner, Ports: []Port{p}})
		}
	}
	for _, s := range k.sandboxes {
		k.tell(c, request{Op: opAnswer, Owner: s.ID, Sandbox: &s})
	}
	k.conn = c
	close(k.ready)
}

// tell asks for something before anybody else uses the connection. That the netkeeper dies is noticed by who receives
// next; another error is for the log: what is gone is gone, as somebody else has the port, or the namespace has ended.
func (k *Client) tell(c *connection, r request) {
	c.last++
	r.ID = c.last
	if c.wire.Send(r) != nil {
		return
	}
	var answer reply
	if _, err := c.wire.Receive(&answer); err != nil {
		c.wire.Close()
		return
	}
	if answer.Error != "" {
		slog.Error("the netkeeper that died cannot be replaced completely", "op", r.Op, "container", r.Owner, "error", answer.Error)
	}
}

func (k *Client) lose(c *connection) {
	k.mu.Lock()
	k.conn, k.ready = nil, make(chan struct{})
	k.mu.Unlock()
	c.lose()
}
