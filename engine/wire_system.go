package engine

import (
	"context"

	"github.com/moby/moby/api/types/build"

	"github.com/gantry-containers/gantry/engine/httpapi/absent"
	"github.com/gantry-containers/gantry/engine/httpapi/debug"
	systemapi "github.com/gantry-containers/gantry/engine/httpapi/system"
	"github.com/gantry-containers/gantry/engine/system"
)

// wireSystem is last: it asks all others for their sizes.
func (e *Engine) wireSystem(context.Context) error {
	s, err := system.New(system.Options{
		Version: e.build.Version, Commit: e.build.Commit,
		Config: e.config.Load, Facts: e.facts, Address: e.address, Manager: e.manager, Find: e.find, Listeners: e.bus.Listeners,
		Containers: e.parts.views, Images: e.parts.store, Volumes: volumeUsage{e.parts.vols},
		BuildCache: e.parts.buildCache,
	}, e.config.Load().Root)
	if err != nil {
		return err
	}
	e.parts.system = s
	e.routers = append(e.routers, systemapi.New(s, e.bus, e.builder), debug.Routes())
	return nil
}

// builder is the one that clients shall use: BuildKit where it is, unless they were told otherwise.
func (e *Engine) builder() string {
	wanted, told := e.config.Load().Features["buildkit"]
	if e.parts.relay == nil || told && !wanted {
		return string(build.BuilderV1)
	}
	return string(build.BuilderBuildKit)
}

// wireAbsent is first: some of its paths would be names of containers otherwise.
func (e *Engine) wireAbsent(context.Context) error {
	e.routers = append(e.routers, absent.Routes(e.config.Load().Experimental))
	return nil
}
