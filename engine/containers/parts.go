package containers

import (
	"context"
	"net/netip"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	api "github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/idmap"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// Runner makes what runs. *tasks.Service is one.
type Runner interface {
	Create(context.Context, tasks.Create) (pid int, err error)
	Start(ctx context.Context, id string) error
	Destroy(ctx context.Context, id string) (*tasks.Exit, error)
}

// Signaler acts on what runs.
type Signaler interface {
	Kill(ctx context.Context, id, process string, signal syscall.Signal, all bool) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Update(ctx context.Context, id string, resources *specs.LinuxResources) error
}

// Observer tells what became of what ran.
type Observer interface {
	Status(ctx context.Context, id, process string) (tasks.Status, error)
	List(context.Context) ([]tasks.Status, error)
	Labels(ctx context.Context, id string) (map[string]string, error)
	// Records are the ids of those with a label.
	Records(ctx context.Context, label, value string) ([]string, error)
	Delete(ctx context.Context, id string) (*tasks.Exit, error)
	Events(context.Context) <-chan tasks.Event
}

// Tasks is the manager. *tasks.Service is it.
type Tasks interface {
	Runner
	Signaler
	Observer
}

// Images finds what a container is made from.
type Images interface {
	Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*images.Image, error)
	// Unpack makes sure that a variant's layers are there to be built on, and names the last one.
	Unpack(ctx context.Context, manifest ocispec.Descriptor) (digest.Digest, error)
}

// Tree is a container's root, open for reading.
type Tree interface {
	// ReadFile reads a small file, not leaving the tree by any link; at most limit bytes.
	ReadFile(path string, limit int64) ([]byte, error)
	Close() error
}

// Roots keeps the root file systems. Keys are the ids of containers.
type Roots interface {
	Create(ctx context.Context, id string, chain digest.Digest) error
	// Remove can be repeated.
	Remove(ctx context.Context, id string) error
	Open(ctx context.Context, id string) (Tree, error)
	// Remap shows the layers of a root with other ids, until done is called.
	Remap(ctx context.Context, id string, root []mount.Mount, ids user.IdentityMapping) (mapped []mount.Mount, done func() error, err error)
	// Usage is the size of a container's own files, in bytes.
	Usage(ctx context.Context, id string) (int64, error)
	// Sweep removes those of containers that are not known.
	Sweep(ctx context.Context, known func(id string) bool) error
}

// Mounts decides and makes what a container sees beside its root. *mounts.Service is it.
type Mounts interface {
	Resolve(context.Context, *container.Container) ([]container.Mount, error)
	CopyUp(context.Context, *container.Container) error
	Prepare(context.Context, *container.Container) ([]container.Mount, error)
	Finish(context.Context, *container.Container) error
	Release(ctx context.Context, c *container.Container, anonymous bool) error
}

// Networks gives a container its network. *networks.Service is it.
type Networks interface {
	// Within says whether an address is one of a network.
	Within(name string, a netip.Addr) bool
	Prepare(context.Context, *container.Container) (*networks.Attachment, error)
	Connect(ctx context.Context, c *container.Container, pid int) error
	Release(context.Context, *container.Container) error
	// Renamed is told that a running container has another name.
	Renamed(context.Context, *container.Container)
}

// Streams holds the containers' standard streams. *stdio.Keeper is it.
type Streams interface {
	Open(context.Context, stdio.Streams) (tasks.IO, error)
	Drained(context.Context, stdio.Key, time.Duration) error
	Close(context.Context, stdio.Key) error
}

// Events is told what happens.
type Events interface {
	Publish(kind eventsapi.Type, action eventsapi.Action, id string, attributes map[string]string)
}

// Health watches running containers as their health checks say.
type Health interface {
	Watch(id string)
	Unwatch(id string)
}

// Execs is told how further processes of containers end.
type Execs interface {
	// Exited is told that one ended, ContainerEnded that all of a container are gone. They do not wait.
	Exited(tasks.Exit)
	ContainerEnded(id string)
	// Reconcile finds out how those ended whose end nobody told.
	Reconcile(context.Context)
}

// Specs makes what runtimes get. Package spec does when there is no other.
type Specs interface {
	Build(spec.Input) (*specs.Spec, error)
}

// ociSpecs is package spec.
type ociSpecs struct{}

// Build implements Specs.
func (ociSpecs) Build(in spec.Input) (*specs.Spec, error) { return spec.Build(in) }

// Parts is what the life of a container needs of others.
type Parts struct {
	Store    *container.Store
	Tasks    Tasks
	Images   Images
	Roots    Roots
	Mounts   Mounts
	Networks Networks
	Streams  Streams
	Events   Events
	Health   Health
	Execs    Execs
	Specs    Specs
	// Settings are asked for each time: a reload changes them.
	Settings func() Settings
}

// Settings is what the engine was told, and what it knows about the machine.
type Settings struct {
	// Owner tells this engine's tasks from those of others in the same namespace of a manager: a label's value.
	Owner       string
	Facts       host.Facts
	Defaults    spec.Defaults
	Snapshotter string
	// Log is the default log driver and its options; json-file when it is empty.
	Log api.LogConfig
	// CheckLog says no to options that a log driver does not have; nil takes them all.
	CheckLog func(driver string, options map[string]string) error
	// StopTimeout is for containers that name none; 10 s when 0.
	StopTimeout time.Duration
	// Users says which containers have users of their own.
	Users idmap.Policy
	// Runtimes are those that --runtime may name. "runc" is there when it is not named.
	Runtimes map[string]Runtime
}

// Runtime is what a name of --runtime stands for.
type Runtime struct {
	// Shim is a name as io.containerd.runc.v2, or the path of a shim.
	Shim string
	// Options for it, or nil.
	Options any
	// Features are what the runtime can do; nil when that is not known.
	Features *features.Features
}

func (s Settings) stopTimeout() time.Duration {
	if s.StopTimeout == 0 {
		return 10 * time.Second
	}
	return s.StopTimeout
}

func (s Settings) log() api.LogConfig {
	if s.Log.Type == "" {
		return api.LogConfig{Type: "json-file", Config: s.Log.Config}
	}
	return s.Log
}
