package stdio

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/outlive"
)

// Keeper is the keeper process, as the engine talks to it. It is started when it is missing, found when it lives.
type Keeper struct {
	starter Starter
	stop    context.CancelFunc
	done    chan struct{}
	notices chan Notice

	mu sync.Mutex
	// opened are the streams of processes that were not drained: a new keeper has to open them again.
	opened   map[Key]*opened
	sessions map[string]chan Ended
	// conn is nil between two keepers; ready is closed when there is one.
	conn  *connection
	ready chan struct{}
	ended error
}

// opened is what this engine opened, with the outputs' FIFOs held: what is in them is not lost when the process ends
// between the death of a keeper and the next one.
type opened struct {
	Streams
	held []int
}

func (k *Keeper) remember(s Streams, paths *keeper.Paths) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.opened[s.Key] != nil {
		return
	}
	o := &opened{Streams: s}
	for _, path := range []string{paths.Stdout, paths.Stderr} {
		if path == "" {
			continue
		}
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			o.held = append(o.held, fd)
		}
	}
	k.opened[s.Key] = o
}

// Find connects to the keeper of a state folder; it starts one when none answers, and lets one of this build take over
// when another one does. Streams of containers whose keeper died must be opened again: those of this engine are, by
// this package.
func Find(ctx context.Context, dir string) (*Keeper, error) {
	return FindWith(ctx, Starter{Dir: dir, Build: outlive.Build()})
}

// FindWith is Find for a keeper that is started in another way.
func FindWith(ctx context.Context, s Starter) (*Keeper, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &Keeper{
		starter: s, stop: stop, done: make(chan struct{}), notices: make(chan Notice, 16),
		opened: map[Key]*opened{}, sessions: map[string]chan Ended{}, ready: make(chan struct{}),
	}
	go k.live(life, c)
	return k, nil
}

// live serves one connection after the other.
func (k *Keeper) live(ctx context.Context, c *connection) {
	defer close(k.done)
	notices := &queue{out: k.notices}
	notices.start()
	defer notices.close()
	for {
		unhook := context.AfterFunc(ctx, func() { c.wire.Close() })
		k.begin(c)
		c.receive(k, notices)
		unhook()
		k.lose(c)
		if ctx.Err() != nil {
			k.end(ctx.Err())
			return
		}
		next, err := outlive.Until(ctx, "the keeper cannot be started", func() (*connection, error) { return k.starter.connect(ctx) })
		if err != nil {
			k.end(err)
			return
		}
		c = next
	}
}

// begin makes a connection the one that is asked, after what the keeper before had was opened again. Sessions that the
// keeper does not have any more have ended.
func (k *Keeper) begin(c *connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	alive := map[string]bool{}
	for _, id := range c.sessions {
		alive[id] = true
	}
	for id, ended := range k.sessions {
		if !alive[id] {
			delete(k.sessions, id)
			ended <- Ended{}
		}
	}
	// All are open before anything else is asked: the end of a process must not overtake the streams.
	again := make([]Streams, 0, len(k.opened))
	for _, o := range k.opened {
		again = append(again, o.Streams)
	}
	c.reopen(again)
	k.conn = c
	close(k.ready)
}

func (k *Keeper) lose(c *connection) {
	k.mu.Lock()
	k.conn, k.ready = nil, make(chan struct{})
	k.mu.Unlock()
	c.lose()
}

func (k *Keeper) end(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = err
	for key, o := range k.opened {
		outlive.CloseAll(o.held)
		delete(k.opened, key)
	}
	close(k.ready)
	for id, ended := range k.sessions {
		delete(k.sessions, id)
		ended <- Ended{}
	}
}

// connection waits for one.
func (k *Keeper) connection(ctx context.Context) (*connection, error) {
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

func (k *Keeper) sessionEnded(id string, e Ended) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ended, ok := k.sessions[id]; ok {
		delete(k.sessions, id)
		ended <- e
	}
}

// connection is a connected keeper.
type connection struct {
	wire     *outlive.Wire
	sessions []string
	pid      int
	// early is what the keeper told before it answered the first request.
	early []keeper.Reply

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan keeper.Reply
	lost    bool
}

// reopen opens streams before anybody else uses the connection. A keeper that fails meanwhile is noticed by who
// receives next; an error about a process is in the keeper's log, and its streams are asked for again by their owner.
func (c *connection) reopen(list []Streams) {
	open := map[uint64]bool{}
	for _, s := range list {
		c.last++
		r := keeper.OpenRequest(s)
		r.ID = c.last
		open[r.ID] = true
		if c.wire.Send(r) != nil {
			return
		}
	}
	for len(open) > 0 {
		var reply keeper.Reply
		if _, err := c.wire.Receive(&reply); err != nil {
			c.wire.Close()
			return
		}
		if !open[reply.ID] {
			c.early = append(c.early, reply)
		}
		delete(open, reply.ID)
	}
}

func (c *connection) ask(ctx context.Context, r keeper.Request, fds []*handle) (keeper.Reply, error) {
	answer := make(chan keeper.Reply, 1)
	c.mu.Lock()
	if c.lost {
		c.mu.Unlock()
		return keeper.Reply{}, outlive.ErrLost
	}
	c.last++
	r.ID = c.last
	c.waiting[r.ID] = answer
	c.mu.Unlock()
	raw := make([]int, len(fds))
	for i, h := range fds {
		raw[i] = h.fd
	}
	if err := c.wire.Send(r, raw...); err != nil {
		c.wire.Close()
		return keeper.Reply{}, outlive.ErrLost
	}
	select {
	case reply, ok := <-answer:
		if !ok {
			return keeper.Reply{}, outlive.ErrLost
		}
		return reply, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		return keeper.Reply{}, ctx.Err()
	}
}

// receive takes what the keeper says until it has gone.
func (c *connection) receive(k *Keeper, notices *queue) {
	defer c.wire.Close()
	for _, r := range c.early {
		c.take(r, k, notices)
	}
	for {
		var r keeper.Reply
		if _, err := c.wire.Receive(&r); err != nil {
			return
		}
		c.take(r, k, notices)
	}
}

func (c *connection) take(r keeper.Reply, k *Keeper, notices *queue) {
	switch {
	case r.Notice != nil:
		notices.put(*r.Notice)
	case r.Session != "":
		k.sessionEnded(r.Session, Ended{Detached: r.Detached})
	default:
		c.mu.Lock()
		answer := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

func (c *connection) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = true
	for id, answer := range c.waiting {
		delete(c.waiting, id)
		close(answer)
	}
}

// queue keeps notices until somebody reads them: the connection does not wait.
type queue struct {
	out  chan Notice
	mu   sync.Mutex
	wake *sync.Cond
	list []Notice
	stop bool
	quit chan struct{}
}

func (q *queue) start() {
	q.wake = sync.NewCond(&q.mu)
	q.quit = make(chan struct{})
	go func() {
		defer close(q.out)
		for {
			q.mu.Lock()
			for len(q.list) == 0 && !q.stop {
				q.wake.Wait()
			}
			list := q.list
			q.list = nil
			q.mu.Unlock()
			if len(list) == 0 {
				return
			}
			for _, n := range list {
				select {
				case q.out <- n:
				case <-q.quit:
					return
				}
			}
		}
	}()
}

func (q *queue) put(n Notice) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, n)
	q.wake.Signal()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stop = true
	close(q.quit)
	q.wake.Signal()
}
