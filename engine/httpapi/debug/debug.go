// Package debug answers for the engine's own program, as moby does: counters and profiles for `go tool pprof`.
package debug

import (
	"context"
	"expvar"
	"net/http"
	"net/http/pprof"

	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Routes are below /debug.
func Routes() httpapi.Router {
	return httpapi.Routes{
		{Method: http.MethodGet, Path: "/debug/vars", Handle: by(expvar.Handler().ServeHTTP)},
		{Method: http.MethodGet, Path: "/debug/pprof/", Handle: by(pprof.Index)},
		{Method: http.MethodGet, Path: "/debug/pprof/cmdline", Handle: by(pprof.Cmdline)},
		{Method: http.MethodGet, Path: "/debug/pprof/profile", Handle: by(pprof.Profile)},
		{Method: http.MethodGet, Path: "/debug/pprof/symbol", Handle: by(pprof.Symbol)},
		{Method: http.MethodGet, Path: "/debug/pprof/trace", Handle: by(pprof.Trace)},
		{Method: http.MethodGet, Path: "/debug/pprof/{name}", Handle: named},
	}
}

func by(h http.HandlerFunc) httpapi.Handler {
	return func(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
		h(w, r)
		return nil
	}
}

// named is one of the runtime's profiles, as heap or goroutine.
func named(_ context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	pprof.Handler(vars["name"]).ServeHTTP(w, r)
	return nil
}
