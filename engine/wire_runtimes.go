package engine

import (
	"context"
	"log/slog"

	"github.com/containerd/containerd/api/types/runc/options"
	apisystem "github.com/moby/moby/api/types/system"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
)

// defaultShim runs an OCI runtime. A manager of ours has our shim under this name.
const defaultShim = "io.containerd.runc.v2"

// confine lets the configuration overrule how cgroups are made, and loads the profile that containers get.
func (e *Engine) confine(c *config.Config) {
	switch c.Containers.CgroupDriver {
	case "systemd":
		e.facts.SystemdCgroup = true
	case "cgroupfs":
		e.facts.SystemdCgroup = false
	}
	if !e.facts.AppArmor {
		return
	}
	// As with dockerd this is a container's trouble, not the engine's.
	if err := host.LoadAppArmor(); err != nil {
		slog.Warn("containers will not start without a profile of their own", "error", err)
	}
}

// runtimes are those that containers may name, with what they can do.
func (e *Engine) runtimes(ctx context.Context, c *config.Config) map[string]containers.Runtime {
	all := map[string]containers.Runtime{}
	for name, r := range c.Containers.Runtimes {
		all[name] = e.runtime(ctx, r)
	}
	stock := e.runtime(ctx, apisystem.Runtime{})
	for _, name := range spec.StockRuntimes {
		all[name] = stock
	}
	return all
}

// runtime is a shim by its type, or the program that the default shim runs: runc when none is named. What it can do is
// not known where the manager is too old to say it.
func (e *Engine) runtime(ctx context.Context, r apisystem.Runtime) containers.Runtime {
	rt := containers.Runtime{Shim: r.Type}
	if r.Type == "" {
		rt.Shim = defaultShim
		if r.Path != "" || e.facts.SystemdCgroup {
			rt.Options = &options.Options{BinaryName: r.Path, SystemdCgroup: e.facts.SystemdCgroup}
		}
	}
	info, err := e.manager.RuntimeInfo(ctx, rt.Shim, rt.Options)
	if err != nil {
		slog.Debug("what a runtime can do is not known", "shim", rt.Shim, "program", r.Path, "error", err)
		return rt
	}
	rt.Features, _ = info.Features.(*features.Features)
	return rt
}
