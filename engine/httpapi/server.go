package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/gorilla/mux"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Options is what all answers have in common.
type Options struct {
	// Server is the engine's version, told in the Server header.
	Server string
	// Lowest and Highest API version that are served; MinVersion and MaxVersion when empty.
	Lowest, Highest string
	// Experimental is told in the Docker-Experimental header.
	Experimental bool
	// Guard may refuse requests and answers; nil refuses nothing.
	Guard Guard
}

// Guard wraps the handlers of all routes. What it refuses is not even checked for its API version.
type Guard interface {
	Wrap(route Route, next Handler) Handler
}

// versionPath is the beginning of paths that name a version.
const versionPath = "/v{version:[0-9.]+}"

// New is a handler for the routes of routers, with and without a version in the path. Routers that come first win.
func New(o Options, routers ...Router) http.Handler {
	if o.Lowest == "" {
		o.Lowest = MinVersion
	}
	if o.Highest == "" {
		o.Highest = MaxVersion
	}
	m := mux.NewRouter()
	for _, router := range routers {
		for _, route := range router.Routes() {
			h := o.handler(route)
			m.Path(versionPath + route.Path).Methods(route.Method).Handler(h)
			m.Path(route.Path).Methods(route.Method).Handler(h)
		}
	}
	const everything = "/{any:.*}"
	m.Path(everything).Methods(http.MethodOptions).Handler(o.handler(Route{Method: http.MethodOptions, Path: everything, Handle: options}))
	m.NotFoundHandler = http.HandlerFunc(missing)
	m.MethodNotAllowedHandler = http.HandlerFunc(missing)
	return m
}

func missing(w http.ResponseWriter, _ *http.Request) {
	writeError(&response{ResponseWriter: w}, "", fault.Errorf(errdefs.ErrNotFound, "page not found"))
}

func options(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
	return nil
}

// handler wraps a route: headers, version, error, panic.
func (o Options) handler(route Route) http.Handler {
	answer := func(_ context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
		return o.answer(route, w, r, vars)
	}
	if o.Guard != nil {
		answer = o.Guard.Wrap(route, answer)
	}
	return http.HandlerFunc(func(plain http.ResponseWriter, r *http.Request) {
		vars := mux.Vars(r)
		w := &response{ResponseWriter: plain}
		log := slog.With("method", route.Method, "path", r.URL.Path)
		defer func() {
			if p := recover(); p != nil {
				o.panicked(log, w, p)
			}
		}()
		h := w.Header()
		h.Set("Server", "Docker/"+o.Server+" (linux)")
		h.Set("Api-Version", o.Highest)
		h.Set("Ostype", "linux")
		err := answer(r.Context(), w, r, vars)
		if err == nil {
			return
		}
		code := writeError(w, vars["version"], err)
		switch {
		case r.Context().Err() != nil:
			log.Debug("the client has gone, or the engine ends", "error", err)
		case code >= http.StatusInternalServerError:
			log.Error("request failed", "status", code, "error", err)
		default:
			log.Debug("request refused", "status", code, "error", err)
		}
	})
}

// panicked answers for a handler that broke. The engine goes on: whoever asked must not end it for all others.
func (o Options) panicked(log *slog.Logger, w *response, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) //nolint:forbidigo // net/http's own way to drop a connection, which it recovers from
	}
	log.Error("handler broke", "panic", p, "stack", string(debug.Stack()))
	if w.started || w.hijacked {
		panic(http.ErrAbortHandler) //nolint:forbidigo // the client must not take half an answer for a whole one
	}
	writeError(w, "", errors.New("internal error: see the engine's log"))
}

func (o Options) answer(route Route, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	version := vars["version"]
	if version == "" {
		version = o.Highest
	}
	if err := supported(version, o.Lowest, o.Highest); err != nil {
		return err
	}
	w.Header().Set("Docker-Experimental", strconv.FormatBool(o.Experimental))
	if route.Since != "" && compare(version, route.Since) < 0 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "%s %s requires minimum API version %s", route.Method, route.Path, route.Since)
	}
	ctx := WithVersion(r.Context(), version)
	return route.Handle(ctx, w, r.WithContext(ctx), vars)
}
