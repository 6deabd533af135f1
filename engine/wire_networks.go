package engine

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/firewall"
	networksapi "github.com/gantry-containers/gantry/engine/httpapi/networks"
	"github.com/gantry-containers/gantry/engine/netkeeper"
	"github.com/gantry-containers/gantry/engine/networks"
)

func (e *Engine) wireNetworks(ctx context.Context) error {
	c := e.config.Load()
	devices, err := bridge.Open(filepath.Join(c.ExecRoot, "netns"))
	if err != nil {
		return err
	}
	e.onClose(devices.Close)
	keeper := netkeeper.NewLazy(filepath.Join(c.ExecRoot, "netkeeper"))
	e.onClose(func() error { keeper.Disconnect(); return nil })
	run := filepath.Join(c.ExecRoot, "networks")
	o := networks.Options{
		Dir: filepath.Join(c.Root, "networks"), Run: run, Records: e.parts.records, Events: e.bus, Devices: devices,
		Publisher: keeper, Names: keeper, Owners: func(ctx context.Context) ([]string, error) { return owners(ctx, keeper) },
		Forward:  func(ipv6 bool) (firewall.Families, error) { return firewall.Forward(run, ipv6) },
		Defaults: func() *config.Network { return &e.config.Load().Network },
	}
	var filter firewall.Backend
	if c.Network.IPTables {
		if filter, err = firewall.Open(c.Network.FirewallBackend); err != nil {
			return err
		}
		o.Filter = filter
	}
	s, err := networks.Open(o)
	if err != nil {
		return err
	}
	e.onClose(func() error { s.Close(); return nil })
	if err := s.Load(ctx); err != nil {
		return err
	}
	e.facts.IPForward = networks.Forwards()
	e.parts.networks = s
	e.routers = append(e.routers, networksapi.New(s))
	e.background(ctx, s.Run)
	if filter != nil {
		e.background(ctx, func(ctx context.Context) { guard(ctx, filter, s) })
	}
	return nil
}

// owners are the containers for which the netkeeper does something.
func owners(ctx context.Context, k *netkeeper.Lazy) ([]string, error) {
	list, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]struct{}{}
	for _, p := range list.Ports {
		all[p.Owner] = struct{}{}
	}
	for _, s := range list.Sandboxes {
		all[s.ID] = struct{}{}
	}
	return slices.Collect(maps.Keys(all)), nil
}

// watchAgain is how long a watch that failed is left alone.
const watchAgain = time.Second

// guard writes the rules again that somebody takes away.
func guard(ctx context.Context, f firewall.Backend, s *networks.Service) {
	for ctx.Err() == nil {
		err := f.Watch(ctx, func() {
			slog.Warn("somebody changed our rules of the packet filter: they are written again")
			if err := s.Reapply(ctx); err != nil {
				slog.Error("the rules of the packet filter are not what they should be", "error", err)
			}
		})
		if ctx.Err() != nil {
			return
		}
		slog.Error("changes of the packet filter's rules may be missed", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}
