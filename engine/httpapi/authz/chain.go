package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/plugins"
)

const (
	kind        = "authz"
	askRequest  = "AuthZPlugin.AuthZReq"
	askResponse = "AuthZPlugin.AuthZRes"
)

// Chain is the plugins that are asked, in order. All must agree.
type Chain struct {
	folders plugins.Folders
	plugins atomic.Pointer[[]*plugins.Plugin]
}

// New is a chain of plugins by their names.
func New(f plugins.Folders, names []string) *Chain {
	c := &Chain{folders: f}
	c.Set(names)
	return c
}

// Set exchanges the plugins. Requests that are under way keep theirs.
func (c *Chain) Set(names []string) {
	var all []*plugins.Plugin
	for i, name := range names {
		if !slices.Contains(names[:i], name) {
			all = append(all, plugins.New(c.folders, name, kind))
		}
	}
	c.plugins.Store(&all)
}

// Check makes sure that all plugins are there.
func (c *Chain) Check(ctx context.Context) error {
	var errs []error
	for _, p := range *c.plugins.Load() {
		if err := p.Activate(ctx); err != nil {
			errs = append(errs, fmt.Errorf("failed to validate authorization plugin: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ask asks one after the other, until somebody says no or does not answer.
func ask(ctx context.Context, all []*plugins.Plugin, method string, m *message) error {
	for _, p := range all {
		var v verdict
		if err := p.Call(ctx, method, m, &v); err != nil {
			return fmt.Errorf("plugin %s failed with error: %w", p.Name(), plain{err})
		}
		if !v.Allow {
			return fault.Errorf(errdefs.ErrPermissionDenied, "authorization denied by plugin %s: %s", p.Name(), v.Msg)
		}
		if v.Err != "" {
			return fmt.Errorf("plugin %s failed with error: %s", p.Name(), v.Err)
		}
	}
	return nil
}

// plain is an error of a plugin as far as its words go: its class says nothing about the client's request.
type plain struct{ error }
