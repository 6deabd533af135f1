package build

import (
	"bytes"
	"context"
	"net/http"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/build"

	"github.com/gantry-containers/gantry/engine/build"
	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
)

// Builder is the classic one.
type Builder interface {
	Build(context.Context, *build.Request, *progress.Writer) (id string, err error)
	Prune(context.Context) *api.CachePruneReport
}

// BuildKit is the other one. *buildkit.Service is it.
type BuildKit interface {
	Build(context.Context, *buildkit.Request, *progress.Writer) (id string, err error)
	Prune(context.Context, buildkit.Prune) (*api.CachePruneReport, error)
	Cancel(id string)
}

// New is the routes. BuildKit is nil where there is none. Experimental engines refuse fewer parameters before they look.
func New(b Builder, kit BuildKit, experimental bool) httpapi.Router {
	r := routes{b, kit, experimental}
	return httpapi.Routes{
		{Method: http.MethodPost, Path: "/build", Handle: r.build},
		{Method: http.MethodPost, Path: "/build/prune", Handle: r.prune, Since: "1.31"},
		{Method: http.MethodPost, Path: "/build/cancel", Handle: r.cancel},
	}
}

type routes struct {
	classic      Builder
	kit          BuildKit
	experimental bool
}

// build answers with a stream. An error is the answer's status as long as nothing was written.
func (b routes) build(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	req, err := request(ctx, r)
	if err != nil {
		return err
	}
	builder, err := b.builder(r.URL.Query().Get("version"))
	if err != nil {
		return err
	}
	if req.Squash && !b.experimental {
		return fault.Errorf(errdefs.ErrInvalidArgument, "squash is only supported with experimental mode")
	}
	w.Header().Set("Content-Type", "application/json")
	// BuildKit tells of its first steps before it has read the context. Where that cannot be, it is read before.
	_ = http.NewResponseController(w).EnableFullDuplex()
	s := httpapi.NewStream(w)
	out := progress.NewWriter(s)
	quiet := httpapi.Bool(r, "q")
	var kept bytes.Buffer
	steps := out
	if quiet {
		steps = progress.NewWriter(&kept)
	}
	if httpapi.Before(ctx, "1.30") {
		req.NoAux = true
	}
	id, err := builder(ctx, req, steps)
	switch {
	case err != nil && quiet && kept.Len() > 0:
		_, _ = s.Write(kept.Bytes())
		out.Error(err)
	case err != nil && !s.Started():
		return err
	case err != nil:
		out.Error(err)
	case quiet:
		out.Stream(id + "\n")
	}
	return nil
}

// builder is the one of a version.
func (b routes) builder(v string) (func(context.Context, *buildkit.Request, *progress.Writer) (string, error), error) {
	wanted, err := version(v)
	if err != nil {
		return nil, err
	}
	if wanted == api.BuilderV1 {
		return func(ctx context.Context, r *buildkit.Request, out *progress.Writer) (string, error) {
			return b.classic.Build(ctx, r.Request, out)
		}, nil
	}
	if b.kit == nil {
		return nil, fault.Errorf(errdefs.ErrNotImplemented, "BuildKit is not installed beside this engine: set DOCKER_BUILDKIT=0 for the classic builder")
	}
	return b.kit.Build, nil
}

// cancel is for builds of BuildKit: a classic build ends when its client goes away.
func (b routes) cancel(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	w.Header().Set("Content-Type", "application/json")
	id := r.FormValue("id")
	if id == "" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "build ID not provided")
	}
	if b.kit != nil {
		b.kit.Cancel(id)
	}
	return nil
}
