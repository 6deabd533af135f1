package views

import (
	"context"
	"sync"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/images"

	apievents "github.com/moby/moby/api/types/events"
)

// Records are the containers that there are.
type Records interface {
	Get(ref string) (*container.Container, error)
	List() []*container.Container
	Dir(id string) string
}

// Networks tells what became of a container's networks.
type Networks interface {
	Settings(c *container.Container) *api.NetworkSettings
}

// Images finds what a name means now, and what was built on an image.
type Images interface {
	Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*images.Image, error)
	Children(ctx context.Context, parent digest.Digest) ([]digest.Digest, error)
}

// Sizes measures roots, in bytes: a container's own files, and all that it sees.
type Sizes interface {
	Usage(ctx context.Context, id string) (int64, error)
	Total(ctx context.Context, id string) (int64, error)
}

// Health is the health of a container now, a snapshot; nil without a health check.
type Health interface {
	Of(c *container.Container) *api.Health
}

// Execs knows the further processes of a container: those that wait or run.
type Execs interface {
	IDs(container string) []string
}

// Pids are all processes of a container, as the host numbers them.
type Pids interface {
	Pids(ctx context.Context, id string) ([]int, error)
}

// Publisher tells events.
type Publisher interface {
	Publish(kind apievents.Type, action apievents.Action, id string, attributes map[string]string)
}

// Sources is what pictures are made from.
type Sources struct {
	Records  Records
	Networks Networks
	Images   Images
	Sizes    Sizes
	Health   Health
	Execs    Execs
	Pids     Pids
	Events   Publisher
	// Ulimits are the engine's defaults, which show in each container that has not set its own.
	Ulimits map[string]*api.Ulimit
	// DesiredMAC is the address that was asked for on a container's main network; nil for none.
	DesiredMAC func(*container.Container) network.HardwareAddr
}

// Service makes pictures of containers.
type Service struct {
	Sources
	// sizing has a place for each list with sizes that is made at the same time. Sizes are known for a while when they
	// were counted: those who wait get them from there.
	sizing chan struct{}

	mu sync.Mutex
	// entries are the encoded list entries, by id. One is good as long as the record and the health are the same.
	entries map[string]*entry
}

// state is that of a record with its health of now.
func (s *Service) state(c *container.Container) container.State {
	st := c.State
	st.Health = s.Health.Of(c)
	return st
}

// sizings is how many lists with sizes are made at the same time.
const sizings = 2

// New is a service over its sources.
func New(s Sources) *Service {
	return &Service{Sources: s, sizing: make(chan struct{}, sizings), entries: map[string]*entry{}}
}
