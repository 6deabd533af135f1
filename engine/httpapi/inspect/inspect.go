package inspect

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/stats"
	"github.com/gantry-containers/gantry/engine/views"
)

// Views are the pictures of containers.
type Views interface {
	ListJSON(ctx context.Context, o views.ListOptions, before func(version string) bool) ([]byte, error)
	Inspect(ctx context.Context, ref string, size bool) (*api.InspectResponse, error)
	ForVersion(in *api.InspectResponse, before func(version string) bool) any
	Top(ctx context.Context, ref, psArgs string) (*api.TopResponse, error)
}

// Stats writes samples of a container.
type Stats interface {
	Write(ctx context.Context, ref string, o stats.Options, open func() io.Writer) error
}

// Router looks at containers.
type Router struct {
	views Views
	stats Stats
}

// New is a router over views and stats.
func New(v Views, s Stats) *Router { return &Router{views: v, stats: s} }

// Routes implements httpapi.Router.
func (r *Router) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/containers/json", Handle: r.list},
		{Method: http.MethodGet, Path: "/containers/{name:.*}/json", Handle: r.inspect},
		{Method: http.MethodGet, Path: "/containers/{name:.*}/top", Handle: r.top},
		{Method: http.MethodGet, Path: "/containers/{name:.*}/stats", Handle: r.statistics},
	}
}

func (r *Router) list(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	f, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	o := views.ListOptions{All: httpapi.Bool(req, "all"), Size: httpapi.Bool(req, "size"), Filters: f}
	if limit := req.Form.Get("limit"); limit != "" {
		if o.Limit, err = strconv.Atoi(limit); err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
	}
	body, err := r.views.ListJSON(ctx, o, before(ctx))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // A client that has gone needs no answer.
	return nil
}

func (r *Router) inspect(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	in, err := r.views.Inspect(ctx, vars["name"], httpapi.Bool(req, "size"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, r.views.ForVersion(in, before(ctx)))
}

func (r *Router) top(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	top, err := r.views.Top(ctx, vars["name"], req.Form.Get("ps_args"))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, top)
}

func (r *Router) statistics(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	o := stats.Options{Stream: httpapi.BoolOr(req, "stream", true)}
	if !httpapi.Before(ctx, "1.41") {
		o.OneShot = httpapi.Bool(req, "one-shot")
	}
	return r.stats.Write(ctx, vars["name"], o, func() io.Writer {
		if !o.Stream {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			return w
		}
		stream := httpapi.NewStream(w)
		stream.Start()
		return stream
	})
}

// before asks about the version of a request.
func before(ctx context.Context) func(string) bool {
	return func(version string) bool { return httpapi.Before(ctx, version) }
}
