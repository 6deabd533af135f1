package containers

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/names"
)

// Changer changes what containers do. *containers.Service is one.
type Changer interface {
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, o containers.Stop) error
	Restart(ctx context.Context, ref string, o containers.Stop) error
	Kill(ctx context.Context, ref, signal string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	Wait(ctx context.Context, ref string, condition api.WaitCondition) (<-chan containers.Result, error)
}

// Keeper makes, changes and removes their records.
type Keeper interface {
	Create(ctx context.Context, req containers.Create) (api.CreateResponse, error)
	Rename(ctx context.Context, ref, name string) error
	Update(ctx context.Context, ref string, change api.UpdateConfig, version string) (api.UpdateResponse, error)
	Remove(ctx context.Context, ref string, o containers.Remove) error
	Prune(ctx context.Context, o containers.Prune) (*api.PruneReport, error)
}

// Containers is all that the routes ask for.
type Containers interface {
	Changer
	Keeper
}

type router struct{ containers Containers }

// New makes the routes.
func New(c Containers) httpapi.Router {
	r := router{c}
	post := func(what string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: http.MethodPost, Path: "/containers/{name:.*}/" + what, Handle: h}
	}
	return httpapi.Routes{
		{Method: http.MethodPost, Path: "/containers/create", Handle: r.create},
		{Method: http.MethodPost, Path: "/containers/prune", Handle: r.prune, Since: "1.25"},
		{Method: http.MethodDelete, Path: "/containers/{name:.*}", Handle: r.remove},
		post("kill", r.kill),
		post("pause", r.pause),
		post("unpause", r.unpause),
		post("restart", r.restart),
		post("start", r.start),
		post("stop", r.stop),
		post("wait", r.wait),
		post("rename", r.rename),
		post("update", r.update),
	}
}

// done answers a request that has nothing to tell.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (r router) start(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	// Anything that is longer than an empty object is a host configuration of clients long gone.
	if req.ContentLength > 7 || req.ContentLength == -1 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	if id := req.Form.Get("checkpoint"); id != "" {
		if !names.Valid(id) || strings.HasSuffix(id, ".") {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid checkpoint ID %q, only %s are allowed", id, names.Chars)
		}
		return fault.Errorf(errdefs.ErrInvalidArgument, "checkpoint is only supported in experimental mode")
	}
	if req.Form.Get("checkpoint-dir") != "" {
		return fault.Errorf(errdefs.ErrPermissionDenied, "custom checkpointdir is not supported")
	}
	return done(w, r.containers.Start(ctx, vars["name"]))
}

// stopOf reads how a container shall be stopped.
func stopOf(ctx context.Context, req *http.Request) (containers.Stop, error) {
	var o containers.Stop
	if err := httpapi.ParseForm(req); err != nil {
		return o, err
	}
	if !httpapi.Before(ctx, "1.42") {
		o.Signal = req.Form.Get("signal")
	}
	if t := req.Form.Get("t"); t != "" {
		seconds, err := strconv.Atoi(t)
		if err != nil {
			return o, err
		}
		o.Timeout = &seconds
	}
	return o, nil
}

func (r router) stop(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	o, err := stopOf(ctx, req)
	if err != nil {
		return invalid(err)
	}
	return done(w, r.containers.Stop(ctx, vars["name"], o))
}

func (r router) restart(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	o, err := stopOf(ctx, req)
	if err != nil {
		return err // moby answers 500 to a bad time here, and 400 for stop.
	}
	return done(w, r.containers.Restart(ctx, vars["name"], o))
}

func invalid(err error) error {
	if fault.Class(err) != nil {
		return err
	}
	return fault.As(errdefs.ErrInvalidArgument, err)
}

func (r router) kill(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	return done(w, r.containers.Kill(ctx, vars["name"], req.Form.Get("signal")))
}

func (r router) pause(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	return done(w, r.containers.Pause(ctx, vars["name"]))
}

func (r router) unpause(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	return done(w, r.containers.Unpause(ctx, vars["name"]))
}

func (r router) rename(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	return done(w, r.containers.Rename(ctx, vars["name"], req.Form.Get("name")))
}

func (r router) remove(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	return done(w, r.containers.Remove(ctx, vars["name"], containers.Remove{
		Force: httpapi.Bool(req, "force"), Volumes: httpapi.Bool(req, "v"), Link: httpapi.Bool(req, "link"),
	}))
}

func (r router) update(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var change api.UpdateConfig
	if err := httpapi.ReadJSON(req, &change); err != nil {
		return err
	}
	answer, err := r.containers.Update(ctx, vars["name"], change, httpapi.Version(ctx))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, answer)
}
