package engine

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gantry-containers/gantry/engine/build"
	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/cni"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/httpapi/absent"
	buildapi "github.com/gantry-containers/gantry/engine/httpapi/build"
	buildkitapi "github.com/gantry-containers/gantry/engine/httpapi/buildkit"
	"github.com/gantry-containers/gantry/engine/managed"
	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/registry"
)

// wireBuild is the classic builder, and BuildKit where it is installed.
func (e *Engine) wireBuild(context.Context) error {
	c := e.config.Load()
	s, err := build.New(build.Parts{
		Images: e.parts.store, Registry: e.parts.registry, Containers: e.parts.life, Streams: e.parts.keeper, Roots: e.parts.roots,
		Events: e.bus, Dir: filepath.Join(c.Root, "build"),
	})
	if err != nil {
		return err
	}
	e.parts.buildCache = s
	e.load = append(e.load, s.Load)
	kit, err := e.wireBuildKit()
	if err != nil {
		return err
	}
	if kit == nil {
		// One may have been there before.
		e.load = append(e.load, e.parts.networks.LeaveSteps)
		e.routers = append(e.routers, buildapi.New(s, nil, c.Experimental), absent.BuildKit())
		return nil
	}
	e.parts.buildCache = kit
	e.routers = append(e.routers, buildapi.New(s, kit, c.Experimental))
	return nil
}

// wireBuildKit is nil where there is no buildkitd.
func (e *Engine) wireBuildKit() (*buildkit.Service, error) {
	c := e.config.Load()
	program := c.Builder.Program
	if program == "" {
		var err error
		if program, err = managed.Find("buildkitd"); err != nil {
			slog.Debug("there is no BuildKit", "error", err)
			return nil, nil //nolint:nilnil // that there is none is an answer
		}
	}
	state := filepath.Join(c.ExecRoot, "buildkit")
	bridge, err := e.wireSteps(state)
	if err != nil {
		return nil, err
	}
	kit := buildkit.New(buildkit.Options{
		Program: program, Root: filepath.Join(c.Root, "buildkit"), State: state, Manager: e.manager, Images: e.parts.store, Events: e.bus,
		Settings: func() buildkit.Settings { return e.buildKitSettings(bridge) }, Steps: e.parts.networks,
	})
	e.load = append(e.load, kit.Load)
	e.onClose(kit.Close)
	relay := buildkit.NewRelay(kit)
	e.onClose(relay.Close)
	e.parts.relay = relay
	e.routers = append(e.routers, buildkitapi.New(relay))
	return kit, nil
}

// wireSteps leads steps of builds to the default bridge. It is empty where there is none. It ends after BuildKit, which
// gives back what steps have.
func (e *Engine) wireSteps(state string) (in cni.Installed, err error) {
	if e.config.Load().Network.Bridge == networks.Disabled {
		return in, nil
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return in, err
	}
	self, err := os.Executable()
	if err != nil {
		return in, err
	}
	socket := filepath.Join(state, "cni.sock")
	s, err := cni.Listen(socket, e.parts.networks)
	if err != nil {
		return in, err
	}
	e.onClose(s.Close)
	return cni.Install(filepath.Join(state, "cni"), self, socket)
}

// buildKitSettings is what buildkitd is told when it starts.
func (e *Engine) buildKitSettings(bridge cni.Installed) buildkit.Settings {
	c := e.config.Load()
	s := buildkit.Settings{
		Bridge: bridge, Address: e.address, Namespace: c.Namespace, Snapshotter: e.snapshotter(), Debug: c.Log.Debug,
		CgroupParent: c.Containers.CgroupParent, Certs: registry.CertsDir, Builder: c.Builder, Registry: c.Registry, Network: c.Network, Proxies: c.Proxies, CDIDirs: c.Containers.CDIDirs,
	}
	if e.facts.AppArmor {
		s.AppArmor = host.AppArmorProfile
	}
	return s
}
