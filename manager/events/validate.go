package events

import (
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
)

// validate accepts what containerd accepts: an identifier as namespace, a path of identifiers as topic, a time.
func validate(e *events.Envelope) error {
	if e == nil {
		return fmt.Errorf("no envelope: %w", errdefs.ErrInvalidArgument)
	}
	if err := identifiers.Validate(e.Namespace); err != nil {
		return fmt.Errorf("namespace of the event: %w", err)
	}
	if err := validateTopic(e.Topic); err != nil {
		return fmt.Errorf("topic %q of the event: %w", e.Topic, err)
	}
	if e.Timestamp.IsZero() {
		return fmt.Errorf("the event has no time: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

func validateTopic(topic string) error {
	path, ok := strings.CutPrefix(topic, "/")
	if !ok {
		return fmt.Errorf("does not begin with /: %w", errdefs.ErrInvalidArgument)
	}
	for component := range strings.SplitSeq(path, "/") {
		if err := identifiers.Validate(component); err != nil {
			return err
		}
	}
	return nil
}
