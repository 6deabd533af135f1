package attach

import (
	"context"
	"maps"
	"net"
	"net/http"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// Containers knows the containers. *container.Store is it.
type Containers interface {
	Get(ref string) (*container.Container, error)
	Dir(id string) string
	Changed(id string) <-chan struct{}
}

// Streams takes clients' connections over. *stdio.Keeper is it.
type Streams interface {
	Attach(context.Context, stdio.Key, stdio.Attach, net.Conn) (<-chan stdio.Ended, error)
}

// Terminals sets the size of a terminal. *tasks.Service does.
type Terminals interface {
	Resize(ctx context.Context, id, process string, width, height uint32) error
}

// Events is told what clients do.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Routes has the routes of a container's streams.
type Routes struct {
	Containers Containers
	Streams    Streams
	Terminals  Terminals
	Events     Events
}

// Routes implements httpapi.Router.
func (s *Routes) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodPost, Path: "/containers/{name:.*}/attach", Handle: s.attach},
		{Method: http.MethodGet, Path: "/containers/{name:.*}/attach/ws", Handle: s.attachWebSocket},
		{Method: http.MethodGet, Path: "/containers/{name:.*}/logs", Handle: s.logs},
		{Method: http.MethodPost, Path: "/containers/{name:.*}/resize", Handle: s.resize},
	}
}

// tell publishes an event with what all events about containers tell.
func (s *Routes) tell(c *container.Container, action events.Action, more map[string]string) {
	attributes := map[string]string{}
	maps.Copy(attributes, more)
	maps.Copy(attributes, c.Config.Labels)
	if c.Config.Image != "" {
		attributes["image"] = c.Config.Image
	}
	attributes["name"] = c.Name
	s.Events.Publish(events.ContainerEventType, action, c.ID, attributes)
}
