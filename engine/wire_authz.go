package engine

import (
	"context"

	"github.com/gantry-containers/gantry/engine/httpapi/authz"
	"github.com/gantry-containers/gantry/engine/plugins"
)

// wireAuthZ finds the plugins that allow requests. An engine without one of them does not start. When a reload names
// one that is missing, all requests are refused until it is there.
func (e *Engine) wireAuthZ(ctx context.Context) error {
	e.authz = authz.New(plugins.Usual(), e.config.Load().AuthZ)
	return e.authz.Check(ctx)
}
