package compat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Event is what containerd tells its subscribers, as far as tests want to know it.
type Event struct {
	Time        time.Time // when the sender says that it was
	Namespace   string
	Topic       string    // /tasks/exit …
	ContainerID string    `json:"container_id"`
	ID          string    `json:"id"` // of the process, in an exit; of the container, in /containers/…
	ExecID      string    `json:"exec_id"`
	PID         int       `json:"pid"`
	ExitStatus  int       `json:"exit_status"`
	ExitedAt    Timestamp `json:"exited_at"`
}

// Timestamp is a time as ctr prints it: as JSON does, up to 1.6; as an object with protobuf's fields, since 1.7.
type Timestamp struct{ time.Time }

// UnmarshalJSON reads both.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	var fields struct{ Seconds, Nanos int64 }
	if err := json.Unmarshal(b, &fields); err == nil {
		t.Time = time.Unix(fields.Seconds, fields.Nanos)
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

// Container is the container that the event is about.
func (e *Event) Container() string {
	if e.ContainerID == "" && strings.HasPrefix(e.Topic, "/containers/") {
		return e.ID
	}
	return e.ContainerID
}

// Events are those of a client's namespace that have arrived, in the order of their arrival.
type Events struct {
	namespace, probe string

	mutex sync.Mutex
	list  []Event
	wrong []string // lines that are no events
}

// Events subscribes until the test ends or the daemon does, and returns when the
// subscription holds.
func (c *Client) Events(t testing.TB) *Events {
	t.Helper()
	cmd := command(c.Env, c.Env["CTR"], "events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	probe := c.Namespace + "-probe"
	events, done := &Events{namespace: c.Namespace, probe: probe}, make(chan struct{})
	go func() {
		events.read(out)
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended with the daemon
		<-done
		_ = cmd.Wait()
		for _, line := range events.wrong {
			t.Errorf("ctr events: %q", line)
		}
	})
	if !harness.Until(20*time.Second, func() bool {
		if _, err := c.Try("namespaces", "create", probe); err != nil {
			return false
		}
		c.Ctr("namespaces", "rm", probe)
		return len(events.Of(probe)) > 0
	}) {
		t.Fatal("ctr events tells nothing")
	}
	return events
}

func (e *Events) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		event, err := parseEvent(lines.Text())
		if err == nil && event.Namespace != e.namespace && event.Namespace != e.probe {
			continue
		}
		e.mutex.Lock()
		if err != nil {
			e.wrong = append(e.wrong, lines.Text()+": "+err.Error())
		} else {
			e.list = append(e.list, event)
		}
		e.mutex.Unlock()
	}
}

// parseEvent reads a line: DATE TIME +0000 UTC NAMESPACE TOPIC JSON.
func parseEvent(line string) (Event, error) {
	f := strings.SplitN(line, " ", 7)
	if len(f) != 7 {
		return Event{}, fmt.Errorf("%d fields", len(f))
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", strings.Join(f[:3], " "))
	if err != nil {
		return Event{}, err
	}
	event := Event{Time: at, Namespace: f[4], Topic: f[5]}
	if strings.HasPrefix(event.Topic, "/namespaces/") {
		event.ContainerID = f[4]
		return event, nil
	}
	return event, json.Unmarshal([]byte(f[6]), &event)
}

// All returns what has arrived.
func (e *Events) All() []Event {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return slices.Clone(e.list)
}

// Of returns those of one container.
func (e *Events) Of(container string) []Event {
	return slices.DeleteFunc(e.All(), func(event Event) bool { return event.Container() != container })
}

// Topics returns the topics of the container's, without "/": "tasks/create" and the like.
func (e *Events) Topics(container string) []string {
	var topics []string
	for _, event := range e.Of(container) {
		topics = append(topics, strings.TrimPrefix(event.Topic, "/"))
	}
	return topics
}

// Wait waits until the container has so many events of the topic, /tasks/exit or the like,
// and returns them.
func (e *Events) Wait(t testing.TB, container, topic string, n int) []Event {
	t.Helper()
	var got []Event
	if !harness.Until(20*time.Second, func() bool {
		got = slices.DeleteFunc(e.Of(container), func(event Event) bool { return event.Topic != topic })
		return len(got) >= n
	}) {
		t.Fatalf("%d events %s of %s, want %d; all: %v", len(got), topic, container, n, e.Topics(container))
	}
	return got
}
