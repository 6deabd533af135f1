package volumes

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Store is the volumes.
type Store interface {
	List(ctx context.Context, args filters.Args) ([]volume.Volume, error)
	Get(ctx context.Context, name string) (*volume.Volume, error)
	Create(ctx context.Context, req volume.CreateRequest) (*volume.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, args filters.Args) (*volume.PruneReport, error)
}

// clusterSince is the version that brought volumes of a swarm.
const clusterSince = "1.42"

// New is the routes of a store.
func New(s Store) httpapi.Router {
	h := handlers{s}
	return httpapi.Routes{
		{Method: http.MethodGet, Path: "/volumes", Handle: h.list},
		{Method: http.MethodGet, Path: "/volumes/{name:.*}", Handle: h.get},
		{Method: http.MethodPost, Path: "/volumes/create", Handle: h.create},
		{Method: http.MethodPost, Path: "/volumes/prune", Handle: h.prune, Since: "1.25"},
		{Method: http.MethodPut, Path: "/volumes/{name:.*}", Handle: h.update, Since: clusterSince},
		{Method: http.MethodDelete, Path: "/volumes/{name:.*}", Handle: h.remove},
	}
}

type handlers struct{ Store }

func (h handlers) list(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	args, err := filters.Parse(r.Form.Get("filters"))
	if err != nil {
		return fmt.Errorf("error reading volume filters: %w", err)
	}
	list, err := h.List(ctx, args)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, volume.ListResponse{Volumes: list})
}

func (h handlers) get(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	v, err := h.Get(ctx, vars["name"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, v)
}

func (h handlers) create(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	var req volume.CreateRequest
	if err := httpapi.ReadJSON(r, &req); err != nil {
		return err
	}
	if req.ClusterVolumeSpec != nil && !httpapi.Before(ctx, clusterSince) {
		return fault.Errorf(errdefs.ErrUnavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" `+
			`to connect this node to swarm and try again.`)
	}
	v, err := h.Create(ctx, req)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, v)
}

func (h handlers) prune(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	args, err := filters.Parse(r.Form.Get("filters"))
	if err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.42") {
		// Older clients mean all volumes, not only anonymous ones.
		all := filters.Args{"all": {"true": true}}
		maps.Copy(all["all"], args["all"])
		for key, values := range args {
			if key != "all" {
				all[key] = values
			}
		}
		args = all
	}
	report, err := h.Prune(ctx, args)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}

func (h handlers) update(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
	return fault.Errorf(errdefs.ErrUnavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}

func (h handlers) remove(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	if err := h.Remove(ctx, vars["name"], httpapi.Bool(r, "force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
