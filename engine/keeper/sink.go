package keeper

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gantry-containers/gantry/engine/logs"
)

// sink is where the entries of one process go. Without a log it takes and forgets them.
type sink struct {
	w    *logs.Writer
	mode logs.Mode

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []logs.Entry // only when non-blocking
	bytes  int64
	closed bool
	done   chan struct{}

	told atomic.Int64 // when an error was told last, in Unix seconds
}

// openSink opens the log that a process asks for.
func openSink(l *Log) (*sink, error) {
	if l == nil {
		return nil, nil
	}
	limit, err := logs.Limit(l.Driver, l.Options)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	mode, err := logs.ModeOf(l.Options)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	w, err := logs.Open(l.Driver, l.Path, limit, l.Attrs)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	s := &sink{w: w, mode: mode, done: make(chan struct{})}
	s.wake = sync.NewCond(&s.mu)
	if mode.NonBlocking {
		go s.run()
	} else {
		close(s.done)
	}
	return s, nil
}

// write keeps entries. It waits for the disk, unless the mode is non-blocking: then what does not fit is lost.
func (s *sink) write(entries []logs.Entry) {
	if s == nil || len(entries) == 0 {
		return
	}
	if !s.mode.NonBlocking {
		s.tell(s.w.Write(entries))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		n := int64(len(e.Line))
		if n+s.bytes > s.mode.Buffer && len(s.queue) > 0 {
			continue
		}
		e.Line = append([]byte(nil), e.Line...)
		s.queue = append(s.queue, e)
		s.bytes += n
	}
	s.wake.Signal()
}

func (s *sink) run() {
	defer close(s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 {
			if s.closed {
				return
			}
			s.wake.Wait()
		}
		batch := s.queue
		s.queue, s.bytes = nil, 0
		s.mu.Unlock()
		err := s.w.Write(batch)
		s.mu.Lock()
		s.tell(err)
	}
}

// tell logs an error of writing, at most every ten seconds. The container goes on.
func (s *sink) tell(err error) {
	now := time.Now().Unix()
	if err == nil || now-s.told.Load() < 10 {
		return
	}
	s.told.Store(now)
	slog.Error("output is not logged", "error", err)
}

// close writes what waits and closes the file.
func (s *sink) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.closed = true
	s.wake.Signal()
	s.mu.Unlock()
	<-s.done
	return s.w.Close()
}
