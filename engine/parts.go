package engine

import (
	"context"

	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/exec"
	"github.com/gantry-containers/gantry/engine/health"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/mounts"
	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/registry"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/system"
	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/engine/views"
	"github.com/gantry-containers/gantry/engine/volumes"
)

// parts are the services that others need when they are put together. Each is set by its own function in wire_….go.
type parts struct {
	records  *container.Store
	networks *networks.Service
	system   *system.Service
	store    *images.Store
	registry *registry.Service
	vols     *volumes.Store
	roots    *rootfs.Service
	mounts   *mounts.Service
	keeper   *stdio.Keeper
	tasks    *tasks.Service
	life     *containers.Service
	execs    *exec.Service
	health   *health.Service
	views    *views.Service

	buildCache system.BuildCache
	// relay is nil where there is no BuildKit.
	relay *buildkit.Relay
}

// pauser freezes containers for a moment, for who is made before their life is.
type pauser struct{ parts *parts }

// Pause implements images.Pauser.
func (p pauser) Pause(ctx context.Context, id string) error { return p.parts.life.Hold(ctx, id) }

// Unpause implements images.Pauser.
func (p pauser) Unpause(ctx context.Context, id string) error { return p.parts.life.Unpause(ctx, id) }

func (e *Engine) later() pauser { return pauser{&e.parts} }

// background runs something until the engine closes, which waits for it.
func (e *Engine) background(ctx context.Context, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	e.begin = append(e.begin, func() {
		go func() {
			defer close(done)
			run(ctx)
		}()
		e.onClose(func() error {
			cancel()
			<-done
			return nil
		})
	})
}
