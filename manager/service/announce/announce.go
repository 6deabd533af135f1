// Package announce tells subscribers what a service has done.
package announce

import (
	"context"
	"log/slog"

	"github.com/containerd/containerd/v2/core/events"
)

// Done publishes the event of a change that is in the database already. Neither a client that has gone since nor a full
// disk undoes the change, so neither may turn its answer into an error: what cannot be published is logged.
func Done(ctx context.Context, publisher events.Publisher, topic string, event events.Event) {
	if err := publisher.Publish(context.WithoutCancel(ctx), topic, event); err != nil {
		slog.ErrorContext(ctx, "an event is lost", "topic", topic, "error", err)
	}
}
