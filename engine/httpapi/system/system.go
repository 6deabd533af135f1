package system

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/swarm"
	api "github.com/moby/moby/api/types/system"

	"github.com/gantry-containers/gantry/engine/events"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Service tells about the engine.
type Service interface {
	Info(ctx context.Context) (*api.Info, error)
	Version(ctx context.Context) (*api.VersionResponse, error)
	// DiskUsage leaves what is not asked for nil.
	DiskUsage(ctx context.Context, what map[api.DiskUsageObject]bool) (*api.DiskUsage, error)
}

// Router has the routes.
type Router struct {
	service Service
	bus     *events.Bus
	builder func() string
}

// New is a router. Builder is the one that clients shall use: 1 for the classic one, 2 for BuildKit.
func New(service Service, bus *events.Bus, builder func() string) *Router {
	return &Router{service: service, bus: bus, builder: builder}
}

// Routes implements httpapi.Router.
func (r *Router) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/_ping", Handle: r.ping},
		{Method: http.MethodHead, Path: "/_ping", Handle: r.ping},
		{Method: http.MethodGet, Path: "/version", Handle: r.version},
		{Method: http.MethodGet, Path: "/info", Handle: r.info},
		{Method: http.MethodGet, Path: "/events", Handle: r.events},
		{Method: http.MethodGet, Path: "/system/df", Handle: r.diskUsage},
	}
}

func (r *Router) ping(_ context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", r.builder())
	h.Set("Swarm", string(swarm.LocalNodeStateInactive))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if req.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return nil
	}
	_, err := w.Write([]byte("OK"))
	return err
}

func (r *Router) version(ctx context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	v, err := r.service.Version(ctx)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, v)
}

func (r *Router) info(ctx context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	info, err := r.service.Info(ctx)
	if err != nil {
		return err
	}
	body, err := httpapi.Merge(info, older(ctx, info))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, body)
}

// older takes away from info what a client's version does not know, and returns what it knew besides.
func older(ctx context.Context, info *api.Info) map[string]any {
	extra := map[string]any{}
	if httpapi.Before(ctx, "1.53") {
		info.NRI = nil
	}
	if httpapi.Before(ctx, "1.50") {
		info.DiscoveredDevices = nil
		extra["BridgeNfIptables"], extra["BridgeNfIp6tables"] = false, false
	}
	if httpapi.Before(ctx, "1.49") {
		info.FirewallBackend = nil
		for key, c := range map[string]api.Commit{
			"ContainerdCommit": info.ContainerdCommit, "RuncCommit": info.RuncCommit, "InitCommit": info.InitCommit,
		} {
			extra[key] = map[string]any{"Expected": c.ID}
		}
	}
	if httpapi.Before(ctx, "1.47") {
		extra["RegistryConfig"] = map[string]any{
			"AllowNondistributableArtifactsCIDRs": nil, "AllowNondistributableArtifactsHostnames": nil,
		}
	}
	if httpapi.Before(ctx, "1.46") {
		info.Containerd = nil
	}
	if httpapi.Before(ctx, "1.44") {
		for name, r := range info.Runtimes {
			info.Runtimes[name] = api.RuntimeWithStatus{Runtime: r.Runtime}
		}
	}
	return extra
}
