package tasks

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
)

const (
	// probeAgain is how long a probe may be under way before another one is sent.
	probeAgain = 50 * time.Millisecond
	// patience is how long no probe may come back before the subscription counts as broken.
	patience = 10 * time.Second
	// retryMin and retryMax bound the pause between attempts to reach a manager that is away.
	retryMin, retryMax = 20 * time.Millisecond, 500 * time.Millisecond
)

// Event is something that happened to a container without our asking. Exactly one field is set.
type Event struct {
	Exit *Exit
	// OOM names a container in which the kernel killed for memory.
	OOM string
	// Gap says that events may have been missed: who cares asks for states. It comes once at the beginning, and when the
	// manager was away. From it on nothing is missed until the next one.
	Gap bool
}

// Events tells what happens until the context ends, which closes the channel. It reconnects by itself.
func (s *Service) Events(ctx context.Context) <-chan Event {
	out := make(chan Event, 64)
	go func() {
		defer close(out)
		pause := retryMin
		for ctx.Err() == nil {
			heard, err := s.listen(ctx, out)
			if ctx.Err() != nil {
				return
			}
			if heard {
				pause = retryMin
				slog.Warn("the manager's events ended", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, retryMax)
			s.redial()
		}
	}()
	return out
}

// redial makes the connection try again now: gRPC would wait for longer and longer.
func (s *Service) redial() {
	if c, ok := s.client.Conn().(*grpc.ClientConn); ok {
		c.ResetConnectBackoff()
	}
}

// listen subscribes once, and tells events until the subscription breaks. It says whether it has ever stood.
func (s *Service) listen(ctx context.Context, out chan<- Event) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The manager does not say when a subscription counts. An event of our own that comes back does.
	probe := "/gantry/" + rand.Text()
	ns := "namespace==" + s.client.DefaultNamespace()
	envelopes, errs := s.client.EventService().Subscribe(ctx,
		ns+`,topic=="/tasks/exit"`, ns+`,topic=="/tasks/oom"`, ns+`,topic=="`+probe+`"`)
	again := time.NewTicker(probeAgain)
	defer again.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	s.probe(ctx, probe)
	for {
		select {
		case <-ctx.Done():
			return heard, ctx.Err()
		case err := <-errs:
			return heard, err
		case <-deadline.C:
			return heard, context.DeadlineExceeded
		case <-again.C:
			s.probe(ctx, probe)
		case e := <-envelopes:
			ev := event(e)
			if e.Topic == probe && !heard {
				heard = true
				again.Stop()
				deadline.Stop()
				ev = &Event{Gap: true}
			}
			if ev == nil {
				continue
			}
			select {
			case out <- *ev:
			case <-ctx.Done():
				return heard, ctx.Err()
			}
		}
	}
}

// probe publishes the event that shall come back. When that fails, the subscription will, too, or the next one works.
func (s *Service) probe(ctx context.Context, topic string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = s.client.EventService().Publish(ctx, topic, &eventsapi.TaskOOM{})
}

// event reads what came; nil for what does not matter.
func event(e *events.Envelope) *Event {
	if e == nil || e.Event == nil {
		return nil
	}
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		slog.Warn("event of the manager", "topic", e.Topic, "error", err)
		return nil
	}
	switch v := v.(type) {
	case *eventsapi.TaskExit:
		x := &Exit{Container: v.GetContainerID(), Process: v.GetID(), Pid: int(v.GetPid()), Code: int(v.GetExitStatus()), At: at(v.GetExitedAt())}
		if x.Process == x.Container {
			x.Process = ""
		}
		return &Event{Exit: x}
	case *eventsapi.TaskOOM:
		if v.GetContainerID() != "" {
			return &Event{OOM: v.GetContainerID()}
		}
	}
	return nil
}
