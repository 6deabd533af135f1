package images

import (
	"context"
	"io"

	api "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/images"
)

// Images is what the routes need of images.
type Images interface {
	List(context.Context, images.ListOptions) ([]api.Summary, error)
	Inspect(context.Context, string, images.InspectOptions) (*images.Inspected, error)
	History(context.Context, string, *ocispec.Platform) ([]api.HistoryResponseItem, error)
	Attestations(context.Context, string, images.AttestationOptions) ([]api.AttestationStatement, error)
	TagByName(ctx context.Context, name, newName string) error
	Delete(context.Context, string, images.DeleteOptions) ([]api.DeleteResponse, error)
	Prune(context.Context, filters.Args) (*api.PruneReport, error)
	Load(context.Context, io.Reader, []ocispec.Platform, func(string)) error
	Save(context.Context, []string, []ocispec.Platform, io.Writer) error
	CommitContainer(context.Context, images.CommitOptions) (string, error)
}

// Router is the routes of images at rest.
type Router struct{ images Images }

// New is a router over images.
func New(images Images) *Router { return &Router{images} }

// Routes implements httpapi.Router.
func (r *Router) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/images/json", Handle: r.list},
		{Method: "GET", Path: "/images/get", Handle: r.save},
		{Method: "GET", Path: "/images/{name:.*}/get", Handle: r.save},
		{Method: "GET", Path: "/images/{name:.*}/history", Handle: r.history},
		{Method: "GET", Path: "/images/{name:.*}/json", Handle: r.inspect},
		{Method: "GET", Path: "/images/{name:.*}/attestations", Handle: r.attestations, Since: "1.55"},
		{Method: "POST", Path: "/images/load", Handle: r.load},
		{Method: "POST", Path: "/images/{name:.*}/tag", Handle: r.tag},
		{Method: "POST", Path: "/images/prune", Handle: r.prune, Since: "1.25"},
		{Method: "POST", Path: "/commit", Handle: r.commit},
		{Method: "DELETE", Path: "/images/{name:.*}", Handle: r.remove},
	}
}
