package mounts

import (
	"context"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// Volumes keeps named places for data.
type Volumes interface {
	// CreateFor makes or finds a volume and notes that a container uses it.
	CreateFor(ctx context.Context, req volume.CreateRequest, container string) (*volume.Volume, error)
	Use(name, container string) error
	Unuse(name, container string)
	Mount(ctx context.Context, name, container string) (path string, err error)
	Mounted(name, container string)
	Unmount(ctx context.Context, name, container string) (was bool, err error)
	Remove(ctx context.Context, name string, force bool) error
	// Keep says that a volume stays without the container that it was made for; Sweep removes others of such.
	Keep(name, container string) error
	Sweep(ctx context.Context, known func(container string) bool) error
}

// Containers finds those whose volumes another one wants.
type Containers interface {
	Get(ref string) (*container.Container, error)
}

// Images finds what is mounted as type image.
type Images interface {
	Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*images.Image, error)
}

// Roots gives the roots of containers and of images.
type Roots interface {
	Open(ctx context.Context, id string) (*rootfs.Tree, error)
	OpenWritable(ctx context.Context, id string) (*rootfs.Tree, error)
	View(ctx context.Context, key, owner string, chain digest.Digest) error
	OpenView(ctx context.Context, key string) (*rootfs.Tree, error)
	Remove(ctx context.Context, key string) error
}

// Events tells others what happens.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Config is what a Service works with.
type Config struct {
	Volumes    Volumes
	Containers Containers
	Images     Images
	Roots      Roots
	Events     Events
	// Root is the engine's data root: binds of it must not hold on to what is mounted below.
	Root string
	// Dir is a folder for the mounts of running containers that have no other place on the host: parts of volumes, and
	// images. It must be one that the manager sees as well, and need not outlive a reboot.
	Dir string
}

// Service decides and makes what containers see beside their roots.
type Service struct {
	Config
}

// New is a service.
func New(c Config) *Service { return &Service{c} }
