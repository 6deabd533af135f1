package events

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// times are the publisher's, so that tests need not wait.
type times struct {
	retry, retryMax time.Duration // between attempts, doubled from the first to the second
	// answer is for how long one is waited for before the connection is given up and the event sent again. It is long: a
	// daemon that was stopped takes what is in its socket when it goes on, and would have that event twice.
	answer time.Duration
	idle   time.Duration // for which a connection is kept without events
	settle time.Duration // from when all clients are connected again until events are sent
	// The pauses of the daemon's clients between attempts to connect, with all the fifths against them: see pause.
	firstPause, longestPause time.Duration
}

var usual = times{
	retry:    50 * time.Millisecond,
	retryMax: time.Second,
	// An event that is sent twice is taken twice: only a daemon that hangs is worth that.
	answer: 5 * time.Minute,
	idle:   2 * time.Second,
	// A client asks for the daemon's health, and subscribes: dockerd pauses 0.1 s in between.
	settle:       time.Second,
	firstPause:   1200 * time.Millisecond,
	longestPause: 72 * time.Second,
}

// Publisher forwards events to one daemon, and has a goroutine while there are some.
type Publisher struct {
	address, namespace string
	times              times

	mu      sync.Mutex
	queue   []run         // whose turn it is
	left    int           // events that are undelivered
	empty   chan struct{} // closed when none is; nil while none is
	wake    chan struct{} // tells the sender, which is about to end, that there is more
	sending bool

	hurry    chan struct{} // closed by Hurry
	hurrying sync.Once
	replays  bool          // the daemon tells late subscribers what they have missed
	told     chan struct{} // tells the sender, which may wait, that replays is true now

	sender sender // belongs to the goroutine that sends
}

// run is a number of events that were appended to one log without any to another in between. So the order of events
// over all logs takes no memory in a shim of one container.
type run struct {
	log   *Log
	count int
}

// NewPublisher makes a publisher for the daemon's ttrpc socket, a path.
func NewPublisher(address, namespace string) *Publisher {
	p := &Publisher{
		address:   address,
		namespace: namespace,
		times:     usual,
		wake:      make(chan struct{}, 1),
		hurry:     make(chan struct{}),
		told:      make(chan struct{}, 1),
	}
	p.sender.init(p)
	return p
}

// Away says that the daemon is away, and since when at the latest: for a process that is started in an outage, which
// would else take the next daemon for the one before. It is called before the first log is opened.
func (p *Publisher) Away(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sender.socket = socket{}
	p.sender.away = &absence{since: since, refused: true}
}

// enqueue takes events of a log into the order.
func (p *Publisher) enqueue(l *Log, count int) {
	if count == 0 {
		return
	}
	l.pending += count
	p.left += count
	if p.empty == nil {
		p.empty = make(chan struct{})
	}
	if n := len(p.queue); n > 0 && p.queue[n-1].log == l {
		p.queue[n-1].count += count
	} else {
		p.queue = append(p.queue, run{log: l, count: count})
	}
	if !p.sending {
		p.sending = true
		go p.sender.send()
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// head is the log whose turn it is, and its event; nil where nothing is to be delivered.
func (p *Publisher) head() (*Log, record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 && p.queue[0].log.pending == 0 {
		p.queue = p.queue[1:]
	}
	if len(p.queue) == 0 {
		p.queue = nil
		return nil, record{}, nil
	}
	l := p.queue[0].log
	r, err := l.first()
	return l, r, err
}

// delivered takes the head out of the order.
func (p *Publisher) delivered(l *Log, r record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.done(r)
	if p.queue[0].count--; p.queue[0].count == 0 {
		p.queue = p.queue[1:]
	}
	p.settleUp(l, 1)
}

// unreadable gives up what is in a log's file.
func (p *Publisher) unreadable(l *Log) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := l.drop()
	p.settleUp(l, n)
	return n
}

func (p *Publisher) settleUp(l *Log, count int) {
	l.release() //nolint:errcheck // what was written is read by nobody any more
	if p.left -= count; p.left == 0 {
		close(p.empty)
		p.empty = nil
	}
}

// Hurry ends the consideration for clients of a daemon that was away: those of the shim's last container are back, as
// one of them has deleted it.
func (p *Publisher) Hurry() { p.hurrying.Do(func() { close(p.hurry) }) }

// Replays says whether the daemon keeps events for those that are not subscribed yet: then nothing is gained by waiting
// for them. It holds until the next one says something else, which each does before it takes events.
func (p *Publisher) Replays(yes bool) {
	p.mu.Lock()
	p.replays = yes
	p.mu.Unlock()
	if yes {
		select {
		case p.told <- struct{}{}:
		default:
		}
	}
}

func (p *Publisher) daemonReplays() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replays
}

// Drain waits until everything is delivered.
func (p *Publisher) Drain(ctx context.Context) error {
	p.mu.Lock()
	empty := p.empty
	p.mu.Unlock()
	if empty == nil {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%d events are undelivered: %w", p.left, ctx.Err())
	}
}
