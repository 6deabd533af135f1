package events

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
)

// Log is one container's events on disk. The bundle may be removed while it is open.
type Log struct {
	publisher *Publisher // whose lock guards what follows
	keep      func(*types.Envelope) bool
	spool     *spool
	held      []record // for which the disk had no room, in their order
	pending   int      // events to be delivered, on disk and held
	closed    bool
}

// Open opens the log of the container whose bundle this is, or makes it. What it holds undelivered comes first.
func (p *Publisher) Open(bundle string) (*Log, error) {
	file, err := os.OpenFile(filepath.Join(bundle, FileName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l, err := p.Adopt(file, nil)
	if err != nil {
		file.Close()
		return nil, err
	}
	return l, nil
}

// Adopt opens a log by its file, which is the log's from then on, unless there is an error: so a process can deliver
// what a dead shim left though the bundle is removed. Undelivered events for which keep says no are passed over; a
// keep of nil keeps all.
func (p *Publisher) Adopt(file *os.File, keep func(*types.Envelope) bool) (*Log, error) {
	s, undelivered, err := openSpool(file)
	if err != nil {
		return nil, err
	}
	l := &Log{publisher: p, keep: keep, spool: s}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enqueue(l, undelivered)
	return l, nil
}

// Append writes the event to the disk and leaves it to the publisher. It returns when the event cannot be overtaken by
// a later one, nor be lost when the shim is killed. An event for which the disk has no room is kept in memory.
func (l *Log) Append(e Event) error {
	value, err := e.Message.MarshalVT()
	if err != nil {
		return fmt.Errorf("event %s: %w", e.Topic, err)
	}
	p := l.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.closed {
		return fmt.Errorf("event %s: the log: %w", e.Topic, fs.ErrClosed)
	}
	envelope := &types.Envelope{
		Timestamp: known.New(time.Now()),
		Namespace: p.namespace,
		Topic:     e.Topic,
		Event:     &known.Any{TypeUrl: e.Type, Value: value},
	}
	body, err := envelope.MarshalVT()
	if err != nil {
		return fmt.Errorf("event %s: %w", e.Topic, err)
	}
	if len(body) > maxBody {
		return fmt.Errorf("event %s: %d bytes: the limit is %d", e.Topic, len(body), maxBody)
	}
	if err := l.spool.append(body); err != nil {
		slog.Error("an event is kept in memory only", "topic", e.Topic, "file", l.spool.file.Name(), "error", err)
		l.spool.last++
		l.held = append(l.held, record{number: l.spool.last, body: body})
	}
	p.enqueue(l, 1)
	return nil
}

// Used says whether the log has ever held an event.
func (l *Log) Used() bool {
	l.publisher.mu.Lock()
	defer l.publisher.mu.Unlock()
	return l.spool.last > 0
}

// Close ends the log when what it holds is delivered; it does not wait.
func (l *Log) Close() error {
	l.publisher.mu.Lock()
	defer l.publisher.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.release()
}

// release closes the file of a log that is closed and delivered.
func (l *Log) release() error {
	if !l.closed || l.pending > 0 {
		return nil
	}
	return l.spool.file.Close()
}

// first is the event to be delivered next.
func (l *Log) first() (record, error) {
	if l.spool.next == l.spool.end {
		return l.held[0], nil
	}
	r, err := l.spool.read(l.spool.next)
	if err == nil && len(l.held) > 0 && l.held[0].number < r.number {
		r = l.held[0]
	}
	return r, err
}

// done notes that the first event is delivered.
func (l *Log) done(r record) {
	if len(l.held) > 0 && l.held[0].number == r.number {
		l.held = l.held[1:]
		if len(l.held) == 0 {
			l.held = nil
		}
	} else {
		l.spool.next += r.size()
	}
	l.pending--
	if err := l.spool.mark(r.number); err != nil {
		slog.Error("a delivered event is not marked", "file", l.spool.file.Name(), "error", err)
	}
}

// drop gives up the events in a file that cannot be read any more, and says how many.
func (l *Log) drop() int {
	n := l.pending - len(l.held)
	l.spool.next = l.spool.end
	l.pending = len(l.held)
	return n
}
