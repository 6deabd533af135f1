package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	// Filters on event.* need to know the messages.
	_ "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
)

// Record is an event with its number in the log. Numbers begin at 1, rise by 1, and go on after a restart.
type Record struct {
	Sequence uint64
	*events.Envelope
}

// Config says where the log is and how much of it is kept.
type Config struct {
	Dir       string        // made if missing
	MaxBytes  int64         // of all segments; 0: 16 MiB
	MaxEvents uint64        // in all segments; 0: 65,536
	Orphans   time.Duration // how long a subscriber's place is kept for it after a restart; 0: 15 minutes
}

// segments is in how many files the log is kept: the oldest is dropped whole.
const segments = 8

// Log is the ordered log of events.
type Log struct {
	config Config

	mu       sync.Mutex
	closed   bool
	segments []*segment // oldest first, never empty; the last is written
	opened   uint64     // the number that was next when the log was opened
	frame    []byte     // the record being written
	waiting  bool       // somebody waits for grown
	grown    chan struct{}
	cursors  cursors
	expiry   *time.Timer

	strangers expectation
}

var _ interface {
	events.Publisher
	events.Forwarder
	events.Subscriber
} = (*Log)(nil)

// Open reads the log that an earlier manager left, or begins one.
func Open(config Config) (*Log, error) {
	if config.MaxBytes <= 0 {
		config.MaxBytes = 16 << 20
	}
	if config.MaxEvents == 0 {
		config.MaxEvents = 65536
	}
	if config.Orphans <= 0 {
		config.Orphans = 15 * time.Minute
	}
	l := &Log{config: config, grown: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("event log in %s: %w", config.Dir, err)
	}
	return l, nil
}

func (l *Log) open() error {
	cursorDir := filepath.Join(l.config.Dir, "cursors")
	if err := os.MkdirAll(cursorDir, 0o700); err != nil {
		return err
	}
	all, err := openSegments(l.config.Dir)
	if err != nil {
		return err
	}
	if l.cursors, err = openCursors(cursorDir); err != nil {
		closeSegments(all)
		return err
	}
	// A number that a subscriber was told is never given twice, not even where the log was cut by a fault.
	next := l.cursors.highest() + 1
	if len(all) > 0 {
		next = max(next, all[len(all)-1].next())
	}
	if len(all) == 0 || all[len(all)-1].next() != next {
		s, err := createSegment(l.config.Dir, next)
		if err != nil {
			closeSegments(all)
			l.cursors.close()
			return err
		}
		all = append(all, s)
	}
	all[len(all)-1].extend()
	l.mu.Lock() // the timer may be quick
	defer l.mu.Unlock()
	l.segments, l.opened = all, next
	l.expireOvertaken()
	if len(l.cursors.orphans) > 0 {
		l.armExpiry(l.config.Orphans)
	}
	return nil
}

// Publish appends an event of the manager's own, in the namespace of ctx.
func (l *Log) Publish(ctx context.Context, topic string, event events.Event) error {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	encoded, err := typeurl.MarshalAny(event)
	if err != nil {
		return fmt.Errorf("publish event on %q: %w", topic, err)
	}
	return l.Forward(ctx, &events.Envelope{Timestamp: time.Now().UTC(), Namespace: namespace, Topic: topic, Event: encoded})
}

// Forward appends an event that somebody else, mostly a shim, made. It returns when the event is where the death of
// the manager cannot take it. Errors: errdefs.ErrInvalidArgument for an envelope that containerd would not take,
// ErrResourceExhausted where the state directory is full, ErrUnavailable after Close.
func (l *Log) Forward(_ context.Context, envelope *events.Envelope) error {
	if err := validate(envelope); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed()
	}
	frame, err := appendFrame(l.frame[:0], Record{Sequence: l.tail().next(), Envelope: envelope})
	if err != nil {
		return err
	}
	if cap(frame) <= readSize {
		l.frame = frame
	}
	if err := l.append(frame); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	if l.waiting {
		close(l.grown)
		l.grown, l.waiting = make(chan struct{}), false
	}
	return nil
}

func errClosed() error { return fmt.Errorf("event log is closed: %w", errdefs.ErrUnavailable) }

func (l *Log) tail() *segment { return l.segments[len(l.segments)-1] }

// append writes a frame behind the last record. Where the file system is full, it makes room of its own old records.
func (l *Log) append(frame []byte) error {
	for {
		err := l.write(frame)
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
		if len(l.segments) == 1 {
			return fmt.Errorf("%v: %w", err, errdefs.ErrResourceExhausted) //nolint:errorlint // clients see two as two lines
		}
		slog.Warn("event log: no space; dropping the oldest events", "error", err)
		l.dropOldest()
	}
}

func (l *Log) write(frame []byte) error {
	if err := l.rotate(int64(len(frame))); err != nil {
		return err
	}
	s := l.tail()
	if _, err := s.file.WriteAt(frame, s.size); err != nil {
		// What was written of it must not be taken for a record behind a shorter one.
		return errors.Join(err, s.cut())
	}
	s.size += int64(len(frame))
	s.count++
	s.extend()
	return nil
}

// rotate begins a new segment where the last has no room for so many bytes more, and drops old ones.
func (l *Log) rotate(more int64) error {
	s := l.tail()
	maxBytes, maxCount := l.config.MaxBytes/segments, max(1, l.config.MaxEvents/segments) // of one segment
	if s.count == 0 || (s.size+more <= maxBytes && s.count < maxCount) {
		return nil
	}
	fresh, err := createSegment(l.config.Dir, s.next())
	if err != nil {
		return err
	}
	if err := s.trim(); err != nil {
		slog.Warn("event log: a segment keeps more space than it needs", "error", err)
	}
	l.segments = append(l.segments, fresh)
	for {
		bytes, count := max(more, maxBytes), maxCount // of the fresh one when it is full
		for _, s := range l.segments {
			bytes += s.size
			count += s.count
		}
		if len(l.segments) == 1 || (bytes <= l.config.MaxBytes && count <= l.config.MaxEvents) {
			return nil
		}
		l.dropOldest()
	}
}

func (l *Log) dropOldest() {
	l.segments[0].drop()
	l.segments = slices.Delete(l.segments, 0, 1)
	l.expireOvertaken()
}

// Last is the number of the newest event.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tail().next() - 1
}

// Close ends all subscriptions; their readers' places are kept for the next manager. To be called before the server of
// the subscriptions is stopped: what ends after this has not been ended by its client.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.grown)
	if l.expiry != nil {
		l.expiry.Stop()
	}
	closeSegments(l.segments)
	l.cursors.close()
	return nil
}
