package build

import (
	"context"
	"net"

	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// Images finds and makes images. *images.Store is it.
type Images interface {
	Resolve(ctx context.Context, name string, platform *ocispec.Platform) (*images.Image, error)
	Commit(context.Context, images.Commit) (*images.Image, error)
	Tag(ctx context.Context, img *images.Image, name string) error
	// Children are built on an image, or on nothing; BuiltFrom tells by which configuration, and nil for those that were
	// not built here.
	Children(ctx context.Context, parent digest.Digest) ([]digest.Digest, error)
	BuiltFrom(context.Context, *images.Image) (*api.Config, error)
	Steps
}

// Steps is for images whose history counts as cache.
type Steps interface {
	// Descends says that an image was built on another one; Adopt notes it.
	Descends(ctx context.Context, img *images.Image, from digest.Digest) bool
	Adopt(ctx context.Context, img, parent *images.Image) error
	// Rebuild makes the next image after a parent on the way to another one.
	Rebuild(ctx context.Context, parent, goal *images.Image, config *api.Config) (*images.Image, error)
}

// Registry brings images that are not here. *registry.Service is it.
type Registry interface {
	PullForBuild(ctx context.Context, ref reference.Named, platform *ocispec.Platform, auths map[string]registry.AuthConfig, out *progress.Writer) error
}

// Containers run the steps. *containers.Service is it.
type Containers interface {
	Create(context.Context, containers.Create) (api.CreateResponse, error)
	Start(ctx context.Context, ref string) error
	Wait(ctx context.Context, ref string, condition api.WaitCondition) (<-chan containers.Result, error)
	Remove(ctx context.Context, ref string, o containers.Remove) error
}

// Streams gives away the output of containers. *stdio.Keeper is it.
type Streams interface {
	Attach(ctx context.Context, key stdio.Key, a stdio.Attach, conn net.Conn) (<-chan stdio.Ended, error)
}

// Roots has the trees of files. *rootfs.Service is it.
type Roots interface {
	Layer(ctx context.Context, key, owner string, chain digest.Digest) error
	View(ctx context.Context, key, owner string, chain digest.Digest) error
	Remove(ctx context.Context, key string) error
	OpenWritable(ctx context.Context, key string) (*rootfs.Tree, error)
	OpenView(ctx context.Context, key string) (*rootfs.Tree, error)
}

// Events is told what happens.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Parts is what builds need of others.
type Parts struct {
	Images     Images
	Registry   Registry
	Containers Containers
	Streams    Streams
	Roots      Roots
	Events     Events
	// Dir is a folder of its own for contexts while builds run.
	Dir string
}
