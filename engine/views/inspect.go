package views

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/gantry-containers/gantry/engine/container"
)

// Inspect is all that there is to know about a container, as the newest API tells it.
func (s *Service) Inspect(ctx context.Context, ref string, size bool) (*api.InspectResponse, error) {
	c, err := s.Records.Get(ref)
	if err != nil {
		return nil, err
	}
	out := &api.InspectResponse{
		ID: c.ID, Created: c.Created.UTC().Format(time.RFC3339Nano), Path: c.Path, Args: c.Args, State: inspectState(s.state(c)),
		Image: imageID(c), Name: "/" + c.Name, RestartCount: c.RestartCount, Driver: c.Snapshotter, Platform: c.Platform.OS,
		MountLabel: c.MountLabel, ProcessLabel: c.ProcessLabel, AppArmorProfile: c.AppArmorProfile, ExecIDs: s.execIDs(c.ID),
		HostConfig: s.hostConfig(c), Config: c.Config, Mounts: mountPoints(c), NetworkSettings: s.networkSettings(c),
		Storage:                 &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: c.Snapshotter}}},
		ImageManifestDescriptor: manifest(c),
	}
	if out.Args == nil {
		out.Args = []string{}
	}
	if out.Config == nil {
		out.Config = &api.Config{}
	}
	s.paths(c, out)
	if size {
		sz, err := s.sizes(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		out.SizeRw, out.SizeRootFs = &sz.rw, &sz.root
	}
	return out, nil
}

func (s *Service) execIDs(id string) []string {
	if ids := s.Execs.IDs(id); len(ids) > 0 {
		return ids
	}
	return nil // null, not []: clients know it so
}

// paths tells the files that a container has once it was started, be it in vain. A container in another one's network
// has those of that one.
func (s *Service) paths(c *container.Container, out *api.InspectResponse) {
	if !c.Started && c.State.Error == "" {
		return
	}
	if c.HostConfig != nil && c.HostConfig.LogConfig.Type == "json-file" {
		out.LogPath = filepath.Join(s.Records.Dir(c.ID), c.ID+"-json.log")
	}
	owner := s.networkOwner(c)
	if owner == nil {
		return
	}
	dir := s.Records.Dir(owner.ID)
	out.ResolvConfPath = filepath.Join(dir, "resolv.conf")
	out.HostnamePath = filepath.Join(dir, "hostname")
	out.HostsPath = filepath.Join(dir, "hosts")
}

// networkOwner is the container whose network a container is in: itself, as a rule. Nil when that one is gone.
func (s *Service) networkOwner(c *container.Container) *container.Container {
	for range 16 { // A ring cannot be made by the API; a damaged record must not hang us.
		if c.HostConfig == nil || !c.HostConfig.NetworkMode.IsContainer() {
			return c
		}
		next, err := s.Records.Get(c.HostConfig.NetworkMode.ConnectedContainer())
		if err != nil {
			return nil
		}
		c = next
	}
	return nil
}

// hostConfig is that of the record with what the engine adds to it.
func (s *Service) hostConfig(c *container.Container) *api.HostConfig {
	if c.HostConfig == nil {
		return nil
	}
	h := *c.HostConfig
	h.Links = s.links(c)
	set := map[string]bool{}
	for _, u := range h.Ulimits {
		set[u.Name] = true
	}
	h.Ulimits = slices.Clone(h.Ulimits)
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		if !set[name] {
			h.Ulimits = append(h.Ulimits, s.Ulimits[name])
		}
	}
	return &h
}

// links are legacy links as Docker tells them: "/other:/this/alias".
func (s *Service) links(c *container.Container) []string {
	var links []string
	for _, l := range c.HostConfig.Links {
		name, alias := container.SplitLink(l)
		other, err := s.Records.Get(name)
		if err != nil {
			continue
		}
		links = append(links, "/"+other.Name+":/"+c.Name+"/"+alias)
	}
	return links
}

// networkSettings never has a nil map: clients read them without looking.
func (s *Service) networkSettings(c *container.Container) *api.NetworkSettings {
	out := &api.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	n := s.Networks.Settings(c)
	if n == nil {
		return out
	}
	out.SandboxID, out.SandboxKey = n.SandboxID, n.SandboxKey
	maps.Copy(out.Ports, n.Ports)
	for name, ep := range n.Networks {
		if ep != nil {
			out.Networks[name] = ep.Copy()
		}
	}
	return out
}
