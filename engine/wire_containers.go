package engine

import (
	"context"
	"os"
	"path/filepath"
	"time"

	apicontainer "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/exec"
	"github.com/gantry-containers/gantry/engine/health"
	"github.com/gantry-containers/gantry/engine/host"
	attachapi "github.com/gantry-containers/gantry/engine/httpapi/attach"
	containersapi "github.com/gantry-containers/gantry/engine/httpapi/containers"
	execapi "github.com/gantry-containers/gantry/engine/httpapi/exec"
	inspectapi "github.com/gantry-containers/gantry/engine/httpapi/inspect"
	"github.com/gantry-containers/gantry/engine/logs"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stats"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
	"github.com/gantry-containers/gantry/engine/views"
)

// wireStreams finds the keeper, which outlives us.
func (e *Engine) wireStreams(ctx context.Context) error {
	k, err := stdio.Find(ctx, filepath.Join(e.config.Load().ExecRoot, "keeper"))
	if err != nil {
		return err
	}
	e.parts.keeper = k
	e.onClose(func() error { k.Disconnect(); return nil })
	e.parts.tasks = tasks.New(e.manager)
	e.routers = append(e.routers, &attachapi.Routes{Containers: e.parts.records, Streams: k, Terminals: e.parts.tasks, Events: e.bus})
	e.background(ctx, e.closeInputs)
	return nil
}

// wireContainers is the life of containers, and what is in them: further processes and health probes.
func (e *Engine) wireContainers(ctx context.Context) error {
	c := e.config.Load()
	execs, err := exec.Open(filepath.Join(c.ExecRoot, "execs"), exec.Parts{
		Records: e.parts.records, Tasks: e.parts.tasks, Keeper: e.parts.keeper, Events: e.bus, Builder: exec.Specs{Facts: e.facts},
	})
	if err != nil {
		return err
	}
	probes, err := health.Open(filepath.Join(c.ExecRoot, "health"), health.Parts{
		Records: e.parts.records, Tasks: e.parts.tasks, Processes: execs, Events: e.bus,
	})
	if err != nil {
		return err
	}
	execs.Probes = probes
	e.onClose(func() error { probes.Close(); return nil })
	if err := e.renewSettings(ctx, c); err != nil {
		return err
	}
	life := containers.New(containers.Parts{
		Store: e.parts.records, Tasks: e.parts.tasks, Images: e.parts.store, Roots: roots{e.parts.roots}, Mounts: e.parts.mounts,
		Networks: e.parts.networks, Streams: e.parts.keeper, Events: e.bus, Health: probes, Execs: execs, Settings: func() containers.Settings { return *e.containerSettings.Load() },
	})
	e.parts.life, e.parts.execs, e.parts.health = life, execs, probes
	e.onClose(func() error { life.Close(); return nil })
	e.load = append(e.load, life.Load, func(ctx context.Context) error { e.parts.networks.Sweep(ctx); return nil })
	e.background(ctx, life.Run)
	e.routers = append(e.routers, containersapi.New(life), execapi.New(execs))
	return nil
}

// roots is rootfs.Service, whose trees are Tree.
type roots struct{ *rootfs.Service }

// Open implements containers.Roots.
func (r roots) Open(ctx context.Context, id string) (containers.Tree, error) {
	return r.Service.Open(ctx, id)
}

// renewSettings takes over what the engine is told about containers.
func (e *Engine) renewSettings(ctx context.Context, c *config.Config) error {
	s, err := e.settings(ctx, c)
	if err != nil {
		return err
	}
	e.containerSettings.Store(&s)
	return nil
}

// settings is what the engine was told about containers.
func (e *Engine) settings(ctx context.Context, c *config.Config) (containers.Settings, error) {
	d := spec.Defaults{
		CgroupParent: c.Containers.CgroupParent, Init: c.Containers.Init, InitPath: c.Containers.InitPath, Ulimits: c.Containers.Ulimits,
		ShmSize: c.Containers.ShmSize, IpcMode: c.Containers.IpcMode, CgroupnsMode: c.Containers.CgroupnsMode,
		CDIDirs:         c.Containers.CDIDirs,
		NoNewPrivileges: c.Containers.NoNewPrivileges, SeccompProfile: c.Containers.Seccomp, Runtime: c.Containers.DefaultRuntime,
	}
	if d.InitPath != "" {
		d.InitPath = host.FindInit(d.InitPath)
	}
	switch c.Containers.Seccomp {
	case "", "builtin", "unconfined":
	default:
		profile, err := os.ReadFile(c.Containers.Seccomp)
		if err != nil {
			return containers.Settings{}, err
		}
		d.SeccompJSON = profile
	}
	for name := range c.Containers.Runtimes {
		d.Runtimes = append(d.Runtimes, name)
	}
	return containers.Settings{
		Owner: c.Root, Facts: e.facts, Defaults: d, Snapshotter: e.snapshotter(),
		Log:      apicontainer.LogConfig{Type: c.Containers.LogDriver, Config: c.Containers.LogOpts},
		CheckLog: logs.Check, StopTimeout: time.Duration(c.Containers.StopTimeout) * time.Second, Runtimes: e.runtimes(ctx, c), Users: e.users,
	}, nil
}

// wireViews is last but for the system: it looks at all others.
func (e *Engine) wireViews(context.Context) error {
	v := views.New(views.Sources{
		Records: e.parts.records, Networks: e.parts.networks, Images: e.parts.store, Sizes: e.parts.roots, Health: e.parts.health,
		Execs: e.parts.execs, Pids: e.parts.tasks, Events: e.bus, Ulimits: e.config.Load().Containers.Ulimits,
		DesiredMAC: e.parts.networks.DesiredMAC,
	})
	e.parts.views = v
	e.routers = append(e.routers, inspectapi.New(v, stats.New(e.parts.records, e.parts.tasks, time.Second)))
	return nil
}
