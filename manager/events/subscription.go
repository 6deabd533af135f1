package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
)

const (
	// readSize is how many bytes a subscriber reads at once, and what it keeps: one larger event is let go of again.
	readSize = 32 << 10
	// cursorLag is how long after Sent a cursor moves at the earliest; twice that at the latest.
	cursorLag = 100 * time.Millisecond
)

// Start says where a subscription begins.
type Start struct {
	Filters    []string // containerd's syntax; an event that matches one of them is told
	Subscriber string   // who it is: only the same takes up the place of a lost one; "" is somebody unknown
	Since      uint64   // the number of the first event wanted; 0: where this subscriber was when it was lost, else from now on (but see ExpectStrangers)
}

// Subscription is one reader of the log. It is used by one goroutine.
type Subscription struct {
	log    *Log
	filter *filter
	from   uint64 // numbers below are not wanted
	failed error

	segment *segment
	offset  int64  // in the segment's file, where the next read begins
	buffer  []byte // read and not yet decoded
	told    uint64 // the last number that Next gave
	place   *place // nil: nobody remembers this subscription
}

// Read begins to read the log. Errors: errdefs.ErrInvalidArgument for a filter, ErrOutOfRange for a number that the
// log does not have any more, or does not have yet, ErrUnavailable after Close.
func (l *Log) Read(ctx context.Context, start Start) (*Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := l.newSubscription(start.Filters)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed()
	}
	if err := s.begin(start); err != nil {
		return nil, err
	}
	return s, nil
}

func (l *Log) newSubscription(fs []string) (*Subscription, error) {
	filter, err := newFilter(fs)
	if err != nil {
		return nil, err
	}
	return &Subscription{log: l, filter: filter}, nil
}

// begin finds the first record, and makes or takes over a cursor. The log is locked.
func (s *Subscription) begin(start Start) error {
	l, key, next := s.log, identity{start.Filters, start.Subscriber}.key(), s.log.tail().next()
	first := l.firstFor(time.Now())
	if start.Since != 0 {
		first = start.Since
		if oldest := l.segments[0].first; first < oldest || first > next {
			return fmt.Errorf("event %d: the log has %d to %d: %w", first, oldest, next-1, errdefs.ErrOutOfRange)
		}
	} else if c := l.cursors.adopt(key); c != nil {
		s.place = &place{cursor: c, sent: c.sent, missed: next - 1}
		s.seek(c.sent + 1)
		return nil
	}
	s.seek(first)
	c, err := l.cursors.create(key, first-1)
	if err != nil { // events now matter more than those of the next restart
		slog.Warn("event log: a subscriber has no place to come back to", "subscriber", key, "error", err)
		return nil
	}
	s.place = &place{cursor: c, sent: c.sent}
	if start.Since == 0 {
		s.place.missed = next - 1
	}
	return nil
}

// seek makes first the next record. The log is locked, and has the record or will give it the next number.
func (s *Subscription) seek(first uint64) {
	all := s.log.segments
	i := len(all) - 1
	for i > 0 && all[i].first > first {
		i--
	}
	s.segment, s.from = all[i], first
	if first >= s.segment.next() {
		s.offset = s.segment.size
	}
}

// Next waits for the next event. Its error is that of ctx, errdefs.ErrUnavailable after Close, or ErrOutOfRange when
// the log has dropped what would be next: who subscribes again with the same filters then begins at the oldest kept.
func (s *Subscription) Next(ctx context.Context) (Record, error) {
	for s.failed == nil {
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		if err := s.fill(ctx); err != nil {
			if ctx.Err() != nil {
				return Record{}, err
			}
			s.failed = err
			break
		}
		r, n, err := decodeFrame(s.buffer)
		if err != nil {
			s.failed = fmt.Errorf("event log changed under its reader: %w: %w", err, errdefs.ErrDataLoss)
			break
		}
		if s.buffer = s.buffer[n:]; len(s.buffer) == 0 {
			s.buffer = nil // nothing is held while there is nothing to tell
		}
		if r.Sequence < s.from {
			continue
		}
		if s.filter.match(r.Envelope) {
			s.told = r.Sequence
			return r, nil
		}
		if s.place != nil {
			s.place.skip(s.told, r.Sequence)
		}
	}
	return Record{}, s.failed
}

// fill reads until the buffer has a whole frame.
func (s *Subscription) fill(ctx context.Context) error {
	for {
		want := readSize
		size, err := frameSize(s.buffer)
		switch {
		case err == nil && len(s.buffer) >= size:
			return nil
		case err == nil:
			want = max(want, size)
		case !errors.Is(err, errTorn):
			return fmt.Errorf("event log changed under its reader: %w: %w", err, errdefs.ErrDataLoss)
		}
		available, err := s.wait(ctx)
		if err != nil {
			return err
		}
		have := len(s.buffer)
		b := slices.Grow(slices.Clone(s.buffer), int(min(available, int64(want-have))))
		b = b[:have+int(min(available, int64(want-have)))]
		n, err := s.segment.file.ReadAt(b[have:], s.offset)
		s.buffer = b[:have+n]
		s.offset += int64(n)
		if err != nil && !errors.Is(err, os.ErrClosed) { // closed: wait knows why
			return fmt.Errorf("read event log: %w", err)
		}
	}
}

// wait returns how many bytes there are to read at the offset, once there are some. It goes on to the next segment
// where this one has no more.
func (s *Subscription) wait(ctx context.Context) (int64, error) {
	for {
		grown, available, err := s.look()
		if err != nil || available > 0 {
			return available, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *Subscription) look() (grown <-chan struct{}, available int64, err error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, 0, errClosed()
		case s.segment.dropped:
			s.overtaken()
			return nil, 0, fmt.Errorf("subscriber is too slow, the log begins at event %d now: %w", l.segments[0].first, errdefs.ErrOutOfRange)
		case s.offset < s.segment.size:
			return nil, s.segment.size - s.offset, nil
		case s.segment == l.tail():
			l.waiting = true
			return l.grown, 0, nil
		}
		s.segment, s.offset = l.segments[slices.Index(l.segments, s.segment)+1], 0
	}
}

// overtaken leaves the place at the oldest event that is kept: the subscriber comes back, or it expires. The log is locked.
func (s *Subscription) overtaken() {
	if s.place == nil {
		return
	}
	c := s.place.stop()
	c.advance(s.log.segments[0].first - 1)
	s.log.keepOrphan(c)
	s.place = nil
}

// Sent says that the events up to this number have been handed to the subscriber's connection.
func (s *Subscription) Sent(sequence uint64) {
	if s.place != nil {
		s.place.reached(sequence)
	}
}

// Close ends the subscription for good: nothing is kept for it, unless the log was closed first, or the client went
// away while it was still being told what it had missed. A client that tries to come back tries more than once.
func (s *Subscription) Close() {
	if s.failed == nil {
		s.failed = fmt.Errorf("subscription is closed: %w", errdefs.ErrUnavailable)
	}
	if s.place == nil {
		return
	}
	c, missed := s.place.stop(), s.place.missed
	s.place = nil
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	switch {
	case s.log.closed:
	case c.sent < missed:
		s.log.keepOrphan(c)
	default:
		s.log.cursors.end(c)
	}
}

// place moves a cursor, cursorLag behind what was sent.
type place struct {
	mu      sync.Mutex
	cursor  *cursor
	sent    uint64
	missed  uint64      // a lost subscriber that came back has missed events up to this one
	timer   *time.Timer // nil until something was sent
	armed   bool
	stopped bool
}

func (p *place) reached(sequence uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.move(sequence)
}

// skip counts an event that the filters do not want as sent, if all before it were: otherwise the place of a subscriber
// that seldom wants anything would fall out of the log.
func (p *place) skip(told, sequence uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent >= told {
		p.move(sequence)
	}
}

func (p *place) move(sequence uint64) {
	if sequence <= p.sent || p.stopped {
		return
	}
	p.sent = sequence
	p.arm()
}

func (p *place) arm() {
	if p.armed || p.sent == p.cursor.sent {
		return
	}
	p.armed = true
	target := p.sent
	p.timer = time.AfterFunc(cursorLag, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.stopped {
			return
		}
		p.cursor.advance(target)
		p.armed = false
		p.arm()
	})
}

// stop gives the cursor back; nothing moves it any more.
func (p *place) stop() *cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
	return p.cursor
}

// Subscribe is the form that containerd's libraries ask for: from now on, without replay. The subscription ends with
// ctx, and then or with its first error the second channel is closed.
func (l *Log) Subscribe(ctx context.Context, fs ...string) (<-chan *events.Envelope, <-chan error) {
	told, failed := make(chan *events.Envelope), make(chan error, 1)
	s, err := l.newSubscription(fs)
	if err == nil {
		l.mu.Lock()
		if l.closed {
			err = errClosed()
		}
		s.seek(l.tail().next())
		l.mu.Unlock()
	}
	if err != nil {
		failed <- err
		close(failed)
		return told, failed
	}
	go func() {
		defer close(failed)
		for {
			r, err := s.Next(ctx)
			if err == nil {
				select {
				case told <- r.Envelope:
					continue
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			if !errors.Is(err, context.Canceled) {
				failed <- err
			}
			return
		}
	}()
	return told, failed
}
