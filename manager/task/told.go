package task

import (
	"context"
	"fmt"
	"sync"

	eventtypes "github.com/containerd/containerd/api/events"
	coreevents "github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/events"
)

// telling names an exit or a delete: no two of them have the same.
type telling struct {
	topic string
	key
	process string
	pid     uint32
	at      int64 // ns
}

// maxTold bounds how many are remembered. A shim sends an event again when the answer was lost: soon, or at the manager's
// next start.
const maxTold = 8192

// told is the set of exits and deletes that the log has.
type told struct {
	mu   sync.Mutex
	has  map[telling]struct{}
	ring []telling
	next int
}

func newTold() *told { return &told{has: map[telling]struct{}{}} }

// once tells it, unless that was done.
func (s *told) once(which telling, tell func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.has[which]; ok {
		return nil
	}
	if err := tell(); err != nil {
		return err
	}
	s.add(which)
	return nil
}

func (s *told) add(which telling) {
	s.has[which] = struct{}{}
	if len(s.ring) < maxTold {
		s.ring = append(s.ring, which)
		return
	}
	delete(s.has, s.ring[s.next])
	s.ring[s.next] = which
	s.next = (s.next + 1) % maxTold
}

// History is what a log can say of its past: package events' can.
type History interface {
	Last() uint64
	Read(ctx context.Context, start events.Start) (*events.Subscription, error)
}

// recall fills the set with what the log has of an earlier manager's time: the last events of it, which are those that a shim
// may send again.
func (s *told) recall(ctx context.Context, log History) error {
	last := log.Last()
	if last == 0 {
		return nil
	}
	reader, err := readLast(ctx, log, last)
	if err != nil {
		return fmt.Errorf("the event log: %w", err)
	}
	defer reader.Close()
	for {
		r, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("the event log: %w", err)
		}
		if which, ok := tellingOf(r.Envelope); ok {
			s.mu.Lock()
			s.add(which)
			s.mu.Unlock()
		}
		if r.Sequence >= last {
			return nil
		}
	}
}

// readLast reads as many of the last events as can be remembered, or as many as the log has of them.
func readLast(ctx context.Context, log History, last uint64) (*events.Subscription, error) {
	for n := uint64(maxTold); ; n /= 2 {
		first := uint64(1)
		if n = max(n, 1); last > n {
			first = last - n + 1
		}
		reader, err := log.Read(ctx, events.Start{Since: first})
		if !errdefs.IsOutOfRange(err) || n == 1 {
			return reader, err
		}
	}
}

// tellingOf is the name of an exit or a delete.
func tellingOf(e *coreevents.Envelope) (telling, bool) {
	switch e.Topic {
	case exitTopic:
		var x eventtypes.TaskExit
		if decode(e, &x) {
			return telling{exitTopic, key{e.Namespace, x.ContainerID}, x.ID, x.Pid, at(x.ExitedAt).UnixNano()}, true
		}
	case deleteTopic:
		var x eventtypes.TaskDelete
		if decode(e, &x) && (x.ID == "" || x.ID == x.ContainerID) {
			return telling{deleteTopic, key{e.Namespace, x.ContainerID}, x.ContainerID, x.Pid, at(x.ExitedAt).UnixNano()}, true
		}
	}
	return telling{}, false
}
