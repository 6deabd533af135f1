package authz

import (
	"context"
	"net/http"

	"github.com/gantry-containers/gantry/engine/httpapi"
)

// login is where clients send passwords, which are not a plugin's business.
const login = "/auth"

// Wrap asks the plugins before a handler and before its answer. It implements httpapi.Guard.
func (c *Chain) Wrap(route httpapi.Route, next httpapi.Handler) httpapi.Handler {
	return func(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
		all := *c.plugins.Load()
		if len(all) == 0 {
			return next(ctx, w, r, vars)
		}
		m := describe(r)
		if route.Path != login {
			body, err := takeBody(r)
			if err != nil {
				return err
			}
			m.RequestBody = body
		}
		if err := ask(ctx, all, askRequest, m); err != nil {
			return err
		}
		ctx, stop := context.WithCancel(r.Context())
		defer stop()
		a := &answer{
			to: w, header: w.Header().Clone(), showBody: route.Path != login, stop: stop,
			allowed: func(status int, h http.Header, body []byte) error {
				m.ResponseStatusCode, m.ResponseHeaders, m.ResponseBody = status, flat(h), body
				return ask(ctx, all, askResponse, m)
			},
		}
		if err := next(ctx, a, r.WithContext(ctx), vars); err != nil {
			return a.fail(err)
		}
		return a.end()
	}
}

// Admit asks the plugins before a stream of which they see only the beginning: calls of gRPC.
func (c *Chain) Admit(r *http.Request) error {
	all := *c.plugins.Load()
	if len(all) == 0 {
		return nil
	}
	return ask(r.Context(), all, askRequest, describe(r))
}
