package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-containers/gantry/shim/api/events"
	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/types"
)

// Event is an event of a task.
type Event struct {
	Topic     string // without /tasks/
	Container string
	Exec      string // empty for the container's own process
	Exit             // of exit and delete; start and exec-started have the Pid
	Published time.Time
	Received  time.Time
}

func (e Event) String() string {
	s := e.Topic + " " + e.Container
	if e.Exec != "" {
		s += "/" + e.Exec
	}
	if e.Topic == "exit" || e.Topic == "delete" {
		s += fmt.Sprintf(" pid %d code %d at %s", e.Pid, e.Code, e.At.Format("15:04:05.000"))
	}
	return s
}

// Subscription keeps the events of tasks in the order in which they come.
type Subscription struct {
	mu     sync.Mutex
	events []Event
}

// Subscribe begins to collect the namespace's events, until the context ends. While there is no daemon it tries
// again, every millisecond; when the stream ends, it is over.
func (c *Client) Subscribe(ctx context.Context) *Subscription {
	s := &Subscription{}
	go s.read(ctx, c)
	return s
}

func (s *Subscription) read(ctx context.Context, c *Client) {
	request := message(nil).text(1, fmt.Sprintf(`namespace==%s,topic~="/tasks/"`, c.namespace))
	response, err := c.post(ctx, "/containerd.services.events.v1.Events/Subscribe", request)
	for err != nil && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		response, err = c.post(ctx, "/containerd.services.events.v1.Events/Subscribe", request)
	}
	if err != nil {
		return
	}
	defer response.Body.Close()
	for {
		b, err := frame(response.Body)
		if err != nil {
			return
		}
		e, err := decode(b)
		if err != nil {
			e.Topic = err.Error() // which no test takes for one
		}
		s.mu.Lock()
		s.events = append(s.events, e)
		s.mu.Unlock()
	}
}

// Events returns what has come.
func (s *Subscription) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Of returns those of one container, or of one that was made by Exec.
func (s *Subscription) Of(container, exec string) []Event {
	return slices.DeleteFunc(s.Events(), func(e Event) bool { return e.Container != container || e.Exec != exec })
}

// body is a message of shim/api/events.
type body interface{ UnmarshalVT([]byte) error }

func decode(envelope []byte) (Event, error) {
	m := &types.Envelope{}
	if err := m.UnmarshalVT(envelope); err != nil {
		return Event{}, err
	}
	e := Event{Topic: strings.TrimPrefix(m.Topic, "/tasks/"), Published: stamp(m.Timestamp), Received: time.Now()}
	var b body
	switch e.Topic {
	case "create":
		b = &events.TaskCreate{}
	case "start":
		b = &events.TaskStart{}
	case "exec-added":
		b = &events.TaskExecAdded{}
	case "exec-started":
		b = &events.TaskExecStarted{}
	case "exit":
		b = &events.TaskExit{}
	case "delete":
		b = &events.TaskDelete{}
	case "paused":
		b = &events.TaskPaused{}
	case "resumed":
		b = &events.TaskResumed{}
	case "oom":
		b = &events.TaskOOM{}
	default:
		return e, nil
	}
	if err := b.UnmarshalVT(m.Event.GetValue()); err != nil {
		return Event{}, fmt.Errorf("event %s: %w", m.Topic, err)
	}
	e.fill(b)
	return e, nil
}

func (e *Event) fill(b body) {
	switch b := b.(type) {
	case *events.TaskCreate:
		e.Container, e.Pid = b.ContainerId, b.Pid
	case *events.TaskStart:
		e.Container, e.Pid = b.ContainerId, b.Pid
	case *events.TaskExecAdded:
		e.Container, e.Exec = b.ContainerId, b.ExecId
	case *events.TaskExecStarted:
		e.Container, e.Exec, e.Pid = b.ContainerId, b.ExecId, b.Pid
	case *events.TaskExit:
		e.Container, e.Exit = b.ContainerId, Exit{b.Pid, b.ExitStatus, stamp(b.ExitedAt)}
		e.exec(b.Id)
	case *events.TaskDelete:
		e.Container, e.Exit = b.ContainerId, Exit{b.Pid, b.ExitStatus, stamp(b.ExitedAt)}
		e.exec(b.Id)
	case *events.TaskPaused:
		e.Container = b.ContainerId
	case *events.TaskResumed:
		e.Container = b.ContainerId
	case *events.TaskOOM:
		e.Container = b.ContainerId
	}
}

// exec takes the id of an event: that of a container's own process is the container's, or is missing.
func (e *Event) exec(id string) {
	if id != e.Container {
		e.Exec = id
	}
}

func stamp(t *known.Timestamp) time.Time { return time.Unix(t.GetSeconds(), int64(t.GetNanos())) }
