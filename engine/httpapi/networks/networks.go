package networks

import (
	"context"
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Service knows the networks.
type Service interface {
	List(args filters.Args) ([]network.Inspect, error)
	Inspect(ref string) (*network.Inspect, error)
	Create(ctx context.Context, req network.CreateRequest) (*network.CreateResponse, error)
	Remove(ctx context.Context, ref string) error
	Prune(ctx context.Context, args filters.Args) (*network.PruneReport, error)
	ConnectContainer(ctx context.Context, ref, container string, asked *network.EndpointSettings) error
	DisconnectContainer(ctx context.Context, ref, container string, force bool) error
}

// Router has the routes.
type Router struct{ service Service }

// New is a router.
func New(s Service) *Router { return &Router{service: s} }

// Routes implements httpapi.Router.
func (r *Router) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/networks", Handle: r.list},
		{Method: http.MethodGet, Path: "/networks/", Handle: r.list},
		{Method: http.MethodGet, Path: "/networks/{id:.+}", Handle: r.inspect},
		{Method: http.MethodPost, Path: "/networks/create", Handle: r.create},
		{Method: http.MethodPost, Path: "/networks/{id:.*}/connect", Handle: r.connect},
		{Method: http.MethodPost, Path: "/networks/{id:.*}/disconnect", Handle: r.disconnect},
		{Method: http.MethodPost, Path: "/networks/prune", Since: "1.25", Handle: r.prune},
		{Method: http.MethodDelete, Path: "/networks/{id:.*}", Handle: r.remove},
	}
}

func (r *Router) list(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	all, err := r.service.List(args)
	if err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.28") {
		return httpapi.WriteJSON(w, http.StatusOK, all)
	}
	short := []network.Summary{}
	for _, n := range all {
		short = append(short, network.Summary{Network: n.Network})
	}
	return httpapi.WriteJSON(w, http.StatusOK, short)
}

func (r *Router) inspect(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	if v := req.URL.Query().Get("verbose"); v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid value for verbose: %s: %w", v, err)
		}
	}
	if s := req.URL.Query().Get("scope"); s != "" && s != "local" {
		return fault.Errorf(errdefs.ErrNotFound, "network %s not found", vars["id"])
	}
	n, err := r.service.Inspect(vars["id"])
	if err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.52") {
		n.Status = nil
	}
	return httpapi.WriteJSON(w, http.StatusOK, n)
}

func (r *Router) create(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var c network.CreateRequest
	if err := httpapi.ReadJSON(req, &c); err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.48") {
		c.EnableIPv4 = nil
	}
	made, err := r.service.Create(ctx, c)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, made)
}

func (r *Router) connect(ctx context.Context, _ http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var c network.ConnectRequest
	if err := httpapi.ReadJSON(req, &c); err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.54") && c.EndpointConfig != nil {
		c.EndpointConfig.MacAddress = nil
	}
	return r.service.ConnectContainer(ctx, vars["id"], c.Container, c.EndpointConfig)
}

func (r *Router) disconnect(ctx context.Context, _ http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var d network.DisconnectRequest
	if err := httpapi.ReadJSON(req, &d); err != nil {
		return err
	}
	return r.service.DisconnectContainer(ctx, vars["id"], d.Container, d.Force)
}

func (r *Router) prune(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	report, err := r.service.Prune(ctx, args)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}

func (r *Router) remove(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	if err := r.service.Remove(ctx, vars["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
