package images

import (
	"context"

	containerd "github.com/containerd/containerd/v2/client"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/names"
)

// Image is an image, seen for one platform.
type Image struct {
	// Name is the full reference ("docker.io/library/busybox:latest"); empty when it was found by its id.
	Name string
	// Target is what the name points to. Its digest is Docker's image id.
	Target ocispec.Descriptor
	// Manifest is the variant for the platform.
	Manifest ocispec.Descriptor
	Config   dockerspec.DockerOCIImage
	// ChainID names the snapshot of its layers; empty for an image without layers.
	ChainID digest.Digest
	// Parent is the id of the image that it was committed or built on; empty when unknown.
	Parent digest.Digest
}

// Containers knows the records of containers: images in use are not removed.
type Containers interface {
	List() []*container.Container
	Get(ref string) (*container.Container, error)
}

// Events tells what happened to images.
type Events interface {
	Publish(events.Type, events.Action, string, map[string]string)
}

// Options is what a Store works with.
type Options struct {
	// Client of the manager; its default namespace is the one that is looked at.
	Client *containerd.Client
	// Snapshotter keeps unpacked layers.
	Snapshotter string
	Containers  Containers
	Events      Events
	// Pauser stops a container's processes while it is committed; nil when commit shall never pause.
	Pauser Pauser
}

// Pauser freezes a container's processes, and lets them go on.
type Pauser interface {
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
}

// Store is the images of the manager's namespace. It answers from an index in memory, which Watch keeps; without Watch
// it asks the manager each time.
type Store struct {
	client      *containerd.Client
	snapshotter string
	containers  Containers
	events      Events
	pauser      Pauser
	host        ocispec.Platform
	// instance marks the leases of this process: others are left from one that was killed.
	instance string

	index   *index
	pruning chan struct{} // holds one token while a prune runs
}

// New is a store over the images of a manager.
func New(o Options) *Store {
	return &Store{
		client: o.Client, snapshotter: o.Snapshotter, containers: o.Containers, events: o.Events, pauser: o.Pauser,
		host: HostPlatform(), instance: names.ID(), index: newIndex(), pruning: make(chan struct{}, 1),
	}
}
