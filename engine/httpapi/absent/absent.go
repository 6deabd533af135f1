package absent

import (
	"context"
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/plugin"
	"github.com/moby/moby/api/types/swarm"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Routes are those of swarm mode, of managed plugins, of cluster volumes and of checkpoints. They come
// before the routes of containers, whose names would take "x/checkpoints" in.
func Routes(experimental bool) httpapi.Routes {
	var all httpapi.Routes
	for _, group := range []httpapi.Routes{checkpoints(experimental), cluster(), secrets("secret", "1.25"), secrets("config", "1.30"), plugins(), volumes()} {
		all = append(all, group...)
	}
	return all
}

// refuse is a handler that checks a request as far as moby does, and then says why not.
func refuse(class error, text string, checks ...func(r *http.Request) error) httpapi.Handler {
	return func(_ context.Context, _ http.ResponseWriter, r *http.Request, _ map[string]string) error {
		if err := httpapi.ParseForm(r); err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(r); err != nil {
				return err
			}
		}
		return fault.Errorf(class, "%s", text)
	}
}

const (
	notManager = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	noSwarm    = "This node is not part of a swarm"
	neverSwarm = "swarm mode is not supported by this engine"
)

func cluster() httpapi.Routes {
	manager := func(checks ...func(*http.Request) error) httpapi.Handler {
		return refuse(errdefs.ErrUnavailable, notManager, checks...)
	}
	never := func(check func(*http.Request) error) httpapi.Handler {
		return refuse(errdefs.ErrNotImplemented, neverSwarm, check)
	}
	return httpapi.Routes{
		{Method: http.MethodGet, Path: "/swarm", Handle: manager()},
		{Method: http.MethodGet, Path: "/swarm/unlockkey", Handle: manager()},
		{Method: http.MethodPost, Path: "/swarm/init", Handle: never(initSwarm)},
		{Method: http.MethodPost, Path: "/swarm/join", Handle: never(joinSwarm)},
		{Method: http.MethodPost, Path: "/swarm/leave", Handle: refuse(errdefs.ErrUnavailable, noSwarm)},
		{Method: http.MethodPost, Path: "/swarm/update", Handle: manager(body[swarm.Spec], version("swarm"))},
		{Method: http.MethodPost, Path: "/swarm/unlock", Handle: manager(body[swarm.UnlockRequest])},

		{Method: http.MethodGet, Path: "/services", Handle: manager(filter)},
		{Method: http.MethodGet, Path: "/services/{id}", Handle: manager()},
		{Method: http.MethodPost, Path: "/services/create", Handle: manager(body[swarm.ServiceSpec])},
		{Method: http.MethodPost, Path: "/services/{id}/update", Handle: manager(body[swarm.ServiceSpec], version("service"))},
		{Method: http.MethodDelete, Path: "/services/{id}", Handle: manager()},
		{Method: http.MethodGet, Path: "/services/{id}/logs", Handle: manager(streams)},

		{Method: http.MethodGet, Path: "/nodes", Handle: manager(filter)},
		{Method: http.MethodGet, Path: "/nodes/{id}", Handle: manager()},
		{Method: http.MethodDelete, Path: "/nodes/{id}", Handle: manager()},
		{Method: http.MethodPost, Path: "/nodes/{id}/update", Handle: manager(body[swarm.NodeSpec], version("node"))},

		{Method: http.MethodGet, Path: "/tasks", Handle: manager(filter)},
		{Method: http.MethodGet, Path: "/tasks/{id}", Handle: manager()},
		{Method: http.MethodGet, Path: "/tasks/{id}/logs", Handle: manager(streams)},
	}
}

// secrets are the routes of secrets, and of configs, which are the same under another name.
func secrets(kind, since string) httpapi.Routes {
	manager := func(checks ...func(*http.Request) error) httpapi.Handler {
		return refuse(errdefs.ErrUnavailable, notManager, checks...)
	}
	all, one := "/"+kind+"s", "/"+kind+"s/{id}"
	return httpapi.Routes{
		{Method: http.MethodGet, Path: all, Since: since, Handle: manager(filter)},
		{Method: http.MethodPost, Path: all + "/create", Since: since, Handle: manager(body[swarm.SecretSpec])},
		{Method: http.MethodGet, Path: one, Since: since, Handle: manager()},
		{Method: http.MethodDelete, Path: one, Since: since, Handle: manager()},
		{Method: http.MethodPost, Path: one + "/update", Since: since, Handle: manager(body[swarm.SecretSpec], func(r *http.Request) error {
			if _, err := strconv.ParseUint(r.URL.Query().Get("version"), 10, 64); err != nil {
				return fault.Errorf(errdefs.ErrInvalidArgument, "invalid %s version", kind)
			}
			return nil
		})},
	}
}

func plugins() httpapi.Routes {
	never := func(checks ...func(*http.Request) error) httpapi.Handler {
		return refuse(errdefs.ErrNotImplemented, "managed plugins are not supported by this engine", checks...)
	}
	list := func(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
		args, err := filters.Parse(r.FormValue("filters"))
		if err != nil {
			return err
		}
		if err := args.Only("enabled", "capability"); err != nil {
			return err
		}
		if _, err := args.Bool("enabled", false); err != nil {
			return err
		}
		return httpapi.WriteJSON(w, http.StatusOK, []plugin.Plugin{})
	}
	return httpapi.Routes{
		{Method: http.MethodGet, Path: "/plugins", Handle: list},
		{Method: http.MethodGet, Path: "/plugins/privileges", Handle: never()},
		{Method: http.MethodPost, Path: "/plugins/pull", Handle: never(body[plugin.Privileges])},
		{Method: http.MethodPost, Path: "/plugins/create", Handle: never()},
		{Method: http.MethodGet, Path: "/plugins/{name:.*}/json", Handle: noPlugin()},
		{Method: http.MethodPost, Path: "/plugins/{name:.*}/enable", Handle: noPlugin(timeout)},
		{Method: http.MethodPost, Path: "/plugins/{name:.*}/disable", Handle: noPlugin()},
		{Method: http.MethodPost, Path: "/plugins/{name:.*}/push", Handle: noPlugin()},
		{Method: http.MethodPost, Path: "/plugins/{name:.*}/upgrade", Since: "1.26", Handle: noPlugin(body[plugin.Privileges])},
		{Method: http.MethodPost, Path: "/plugins/{name:.*}/set", Handle: noPlugin(body[[]string])},
		{Method: http.MethodDelete, Path: "/plugins/{name:.*}", Handle: noPlugin()},
	}
}

// noPlugin answers for plugins by name: there are none.
func noPlugin(checks ...func(*http.Request) error) httpapi.Handler {
	return func(_ context.Context, _ http.ResponseWriter, r *http.Request, vars map[string]string) error {
		if err := httpapi.ParseForm(r); err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(r); err != nil {
				return err
			}
		}
		return fault.Errorf(errdefs.ErrNotFound, "plugin %q not found", vars["name"])
	}
}

func volumes() httpapi.Routes {
	const text = "volume update only valid for cluster volumes, but swarm is unavailable"
	return httpapi.Routes{{Method: http.MethodPut, Path: "/volumes/{name:.*}", Since: "1.42", Handle: refuse(errdefs.ErrUnavailable, text)}}
}

// BuildKit is for engines without it: clients are told by the Builder-Version header, and build the classic way.
func BuildKit() httpapi.Routes {
	never := func(class error) httpapi.Handler {
		return refuse(errdefs.ErrNotImplemented, "BuildKit is not installed beside this engine: set DOCKER_BUILDKIT=0 for the classic builder", func(r *http.Request) error {
			if r.Header.Get("Upgrade") == "" {
				return fault.Errorf(class, "no upgrade proto in request")
			}
			return nil
		})
	}
	return httpapi.Routes{
		{Method: http.MethodPost, Path: "/session", Handle: never(errdefs.ErrInvalidArgument)},
		{Method: http.MethodPost, Path: "/grpc", Handle: never(errdefs.ErrInternal)},
	}
}

func checkpoints(experimental bool) httpapi.Routes {
	text := "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."
	if experimental {
		text = "checkpoints are not supported by this engine"
	}
	never := refuse(errdefs.ErrNotImplemented, text)
	return httpapi.Routes{
		{Method: http.MethodGet, Path: "/containers/{name:.*}/checkpoints", Handle: never},
		{Method: http.MethodPost, Path: "/containers/{name:.*}/checkpoints", Handle: never},
		{Method: http.MethodDelete, Path: "/containers/{name}/checkpoints/{checkpoint}", Handle: never},
	}
}

// body checks that the body is a T.
func body[T any](r *http.Request) error {
	var v T
	return httpapi.ReadJSON(r, &v)
}

func filter(r *http.Request) error {
	_, err := filters.Parse(r.Form.Get("filters"))
	return err
}

func version(kind string) func(*http.Request) error {
	return func(r *http.Request) error {
		v := r.URL.Query().Get("version")
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid %s version '%s': %w", kind, v, err)
		}
		return nil
	}
}

func streams(r *http.Request) error {
	if !httpapi.Bool(r, "stdout") && !httpapi.Bool(r, "stderr") {
		return fault.Errorf(errdefs.ErrInvalidArgument, "must specify at least one of 'stdout' or 'stderr'")
	}
	return nil
}

func timeout(r *http.Request) error {
	_, err := strconv.Atoi(r.Form.Get("timeout"))
	return fault.As(errdefs.ErrInvalidArgument, err)
}

func initSwarm(r *http.Request) error {
	var req swarm.InitRequest
	if err := httpapi.ReadJSON(r, &req); err != nil {
		return err
	}
	return listenAddr(req.ListenAddr)
}

func joinSwarm(r *http.Request) error {
	var req swarm.JoinRequest
	if err := httpapi.ReadJSON(r, &req); err != nil {
		return err
	}
	if err := listenAddr(req.ListenAddr); err != nil {
		return err
	}
	if len(req.RemoteAddrs) == 0 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "at least 1 RemoteAddr is required to join")
	}
	return nil
}

func listenAddr(a string) error {
	if a == "" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid ListenAddr %q: invalid empty address", a)
	}
	return nil
}
