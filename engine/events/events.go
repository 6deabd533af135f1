package events

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

const (
	// replayed is how many events of the past a listener can ask for.
	replayed = 256
	// kept is how far a listener may be behind before it is cut off. All listeners share these events, so that their
	// number does not matter for memory.
	kept = 4096
)

// ErrSlow ends a listener that was too far behind.
var ErrSlow = fault.Errorf(errdefs.ErrUnavailable, "the listener was too slow: events have been lost")

// Bus tells events to who listens. It never waits for a listener: one that is too slow is cut off.
type Bus struct {
	mu sync.Mutex
	// ring holds event number n at n modulo its length. It grows up to kept.
	ring []*Event
	// next is the number of the next event.
	next uint64
	// more is closed and replaced when listeners are woken, which was last at woken; waking says that a timer will.
	more      chan struct{}
	woken     time.Time
	waking    bool
	listeners int
}

// pace is how long a listener's share is of the time between two wake-ups of all. A thousand of them are woken ten
// times a second at most and then read what came meanwhile at once; one of them waits for nothing that could be felt.
const pace = 100 * time.Microsecond

// NewBus is a bus without a past.
func NewBus() *Bus { return &Bus{more: make(chan struct{})} }

// Publish tells an event that happens now. Attributes are copied.
func (b *Bus) Publish(kind api.Type, action api.Action, id string, attributes map[string]string) {
	attributes = maps.Clone(attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	e := &Event{Message: api.Message{
		Type: kind, Action: action, Scope: "local",
		Actor: api.Actor{ID: id, Attributes: attributes},
	}}
	b.mu.Lock()
	defer b.mu.Unlock()
	// The time is taken under the lock, so that numbers and times have one order.
	now := time.Now()
	e.Message.Time, e.Message.TimeNano = now.Unix(), now.UnixNano()
	if len(b.ring) < kept {
		b.ring = append(b.ring, e)
	} else {
		b.ring[b.next%kept] = e
	}
	b.next++
	if b.listeners == 0 || b.waking {
		return
	}
	if wait := time.Duration(b.listeners)*pace - now.Sub(b.woken); wait > 0 {
		b.waking = true
		time.AfterFunc(wait, b.wake)
		return
	}
	b.wakeLocked(now)
}

func (b *Bus) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waking = false
	b.wakeLocked(time.Now())
}

func (b *Bus) wakeLocked(now time.Time) {
	b.woken = now
	close(b.more)
	b.more = make(chan struct{})
}

// Listeners is their number.
func (b *Bus) Listeners() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listeners
}

// Listen begins to listen: past events, when since or until is set, and then those to come until the time of until.
// The listener must be closed.
func (b *Bus) Listen(since, until time.Time, args filters.Args) *Listener {
	l := &Listener{bus: b, filter: newFilter(args)}
	if !until.IsZero() {
		l.until = until.UnixNano()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners++
	l.next = b.next
	if since.IsZero() && until.IsZero() {
		return l
	}
	from := int64(0)
	if !since.IsZero() {
		from = since.UnixNano()
	}
	for l.next > 0 && b.next-l.next < replayed && b.ring[(l.next-1)%kept].Message.TimeNano >= from {
		l.next--
	}
	return l
}

// Listener reads events, for one goroutine.
type Listener struct {
	bus    *Bus
	next   uint64
	until  int64
	filter *filter
	closed bool
}

// Close ends listening.
func (l *Listener) Close() {
	if l.closed {
		return
	}
	l.closed = true
	l.bus.mu.Lock()
	l.bus.listeners--
	l.bus.mu.Unlock()
}

// batch bounds what Next returns at once.
const batch = 64

// Next appends the next events that pass the filter to a list, as many as there are, and waits when there are none. The
// error is that of the context, or ErrSlow. After the time that the listener was to end it returns nothing.
func (l *Listener) Next(ctx context.Context, to []*Event) ([]*Event, error) {
	for {
		over := l.over()
		events, more, err := l.take(to)
		if err != nil || len(events) > len(to) {
			return events, err
		}
		if more == nil {
			continue
		}
		if over {
			return to, nil
		}
		if err := l.wait(ctx, more); err != nil {
			return to, err
		}
	}
}

// take reads what there is. more is for waiting when there is nothing left.
func (l *Listener) take(to []*Event) (_ []*Event, more <-chan struct{}, _ error) {
	// The filter is asked without the lock: it may look at regular expressions and references.
	var found [batch]*Event
	l.bus.mu.Lock()
	if l.bus.next-l.next > kept {
		l.bus.mu.Unlock()
		return to, nil, ErrSlow
	}
	n := 0
	for ; n < batch && l.next < l.bus.next; n++ {
		found[n] = l.bus.ring[l.next%kept]
		l.next++
	}
	more = l.bus.more
	l.bus.mu.Unlock()
	for _, e := range found[:n] {
		if l.until != 0 && e.Message.TimeNano > l.until {
			continue
		}
		if l.filter.passes(&e.Message) {
			to = append(to, e)
		}
	}
	if n == batch {
		return to, nil, nil
	}
	return to, more, nil
}

func (l *Listener) over() bool { return l.until != 0 && time.Now().UnixNano() > l.until }

func (l *Listener) wait(ctx context.Context, more <-chan struct{}) error {
	var end <-chan time.Time
	if l.until != 0 {
		t := time.NewTimer(time.Until(time.Unix(0, l.until)))
		defer t.Stop()
		end = t.C
	}
	select {
	case <-more:
	case <-end:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
