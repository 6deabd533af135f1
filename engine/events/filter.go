package events

import (
	"strings"

	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/filters"
)

// filter is what a listener wants to hear. Nil passes all.
type filter struct {
	args filters.Args
	// open says that an action is asked for of which only the beginning is known ("health_status: …").
	open bool
}

// openActions are followed by what they are about.
var openActions = []api.Action{api.ActionHealthStatus, api.ActionExecCreate, api.ActionExecStart}

// named are the kinds of things that a listener can name, by id or name or their beginning.
var named = []api.Type{
	api.DaemonEventType, api.ContainerEventType, api.PluginEventType, api.VolumeEventType, api.NetworkEventType,
	api.NodeEventType, api.ServiceEventType, api.SecretEventType, api.ConfigEventType,
}

func newFilter(args filters.Args) *filter {
	if len(args) == 0 {
		return nil
	}
	f := &filter{args: args}
	for _, a := range openActions {
		f.open = f.open || args["event"][string(a)]
	}
	return f
}

func (f *filter) passes(m *api.Message) bool {
	if f == nil {
		return true
	}
	if !f.action(string(m.Action)) || !f.args.Exact("type", string(m.Type)) || !f.args.Exact("scope", m.Scope) {
		return false
	}
	for _, kind := range named {
		key := string(kind)
		if f.args.Has(key) && !f.args.Prefix(key, m.Actor.ID) && !f.args.Prefix(key, m.Actor.Attributes["name"]) {
			return false
		}
	}
	return f.image(m) && f.args.Labels("label", m.Actor.Attributes)
}

func (f *filter) action(action string) bool {
	if f.open {
		return f.args.Prefix("event", action)
	}
	return f.args.Exact("event", action)
}

// image looks at events of the image and of its containers; a repository stands for all its tags.
func (f *filter) image(m *api.Message) bool {
	if len(f.args["image"]) == 0 {
		return true
	}
	key := "image"
	if m.Type == api.ImageEventType {
		key = "name"
	}
	for _, name := range []string{m.Actor.ID, m.Actor.Attributes[key]} {
		if f.args.Exact("image", name) || f.args.Exact("image", repository(name)) {
			return true
		}
	}
	return false
}

func repository(image string) string {
	if strings.HasPrefix(image, "sha256:") {
		return image
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarName(named)
}
