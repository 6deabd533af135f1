package events

import (
	"fmt"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/filters"
)

// filter remembers answers. containerd's filters compile their regular expressions for each event, which costs more
// than all the rest of telling it; but there are few topics, and most filters ask for nothing else.
type filter struct {
	parsed  filters.Filter
	answers map[about]bool
}

// about is what a filter that does not look into an event's content goes by.
type about struct{ namespace, topic string }

// maxAnswers bounds what a filter remembers; topics come from clients.
const maxAnswers = 128

func newFilter(fs []string) (*filter, error) {
	parsed, err := filters.ParseAll(fs...)
	if err != nil {
		return nil, fmt.Errorf("filters of the subscription: %w", err)
	}
	return &filter{parsed: parsed, answers: map[about]bool{}}, nil
}

func (f *filter) match(e *events.Envelope) bool {
	key := about{e.Namespace, e.Topic}
	if answer, ok := f.answers[key]; ok {
		return answer
	}
	watched := watched{envelope: e}
	answer := f.parsed.Match(&watched)
	if !watched.content { // with the same namespace and topic it would go the same way
		if len(f.answers) >= maxAnswers {
			clear(f.answers)
		}
		f.answers[key] = answer
	}
	return answer
}

// watched is an envelope that notes whether it was asked for more than its namespace and topic.
type watched struct {
	envelope *events.Envelope
	content  bool
}

// Field is that of the envelope.
func (w *watched) Field(path []string) (string, bool) {
	if len(path) == 0 || path[0] != "namespace" && path[0] != "topic" {
		w.content = true
	}
	return w.envelope.Field(path)
}
