package containers

import (
	eventsapi "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
)

// announcer tells events about containers.
type announcer struct{ events Events }

// tell publishes an event with what all events about containers tell, and pairs of further keys and values.
func (a announcer) tell(c *container.Container, action eventsapi.Action, pairs ...string) {
	a.events.Publish(eventsapi.ContainerEventType, action, c.ID, c.EventAttributes(pairs...))
}
