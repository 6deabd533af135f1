package views

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// ListOptions is what a client wants to see of the containers.
type ListOptions struct {
	// All says also those that do not run. Limit above 0 says so too, and how many at most, the newest first.
	All   bool
	Limit int
	// Size says that sizes are measured, which is slow.
	Size    bool
	Filters filters.Args
}

// listKeys are the filters that exist.
var listKeys = []string{
	"ancestor", "annotation", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name",
	"network", "publish", "since", "status", "volume",
}

// filter is the options of a list, read and looked up.
type filter struct {
	ListOptions
	exited          map[int]bool
	tasks           bool // only tasks of a swarm: there are none here
	before, since   string
	ancestors       map[digest.Digest]bool // nil for any
	publish, expose map[string]bool
	ids             map[string]bool // nil for any

	volumes, networks []string
}

func (s *Service) filter(ctx context.Context, o ListOptions) (*filter, error) {
	if err := o.Filters.Only(listKeys...); err != nil {
		return nil, err
	}
	f := &filter{
		ListOptions: o, exited: map[int]bool{}, publish: map[string]bool{}, expose: map[string]bool{},
		volumes: o.Filters.Values("volume"), networks: o.Filters.Values("network"),
	}
	if err := f.words(); err != nil {
		return nil, err
	}
	for key, id := range map[string]*string{"before": &f.before, "since": &f.since} {
		for _, ref := range o.Filters.Values(key) {
			c, err := s.Records.Get(ref)
			if err != nil {
				return nil, err
			}
			*id = c.ID
		}
	}
	for key, ports := range map[string]map[string]bool{"publish": f.publish, "expose": f.expose} {
		for _, v := range o.Filters.Values(key) {
			if err := addPorts(ports, key, v); err != nil {
				return nil, err
			}
		}
	}
	if ids := o.Filters.Values("id"); len(ids) > 0 {
		f.ids = map[string]bool{}
		for _, ref := range ids {
			if c, err := s.Records.Get(ref); err == nil && strings.HasPrefix(c.ID, ref) {
				f.ids[c.ID] = true
			}
		}
	}
	f.ancestors = s.ancestors(ctx, o.Filters.Values("ancestor"))
	return f, nil
}

// words reads the filters whose values are words or numbers of a known set.
func (f *filter) words() error {
	for _, v := range f.Filters.Values("exited") {
		code, err := strconv.Atoi(v)
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'exited=%s': %w", v, err)
		}
		f.exited[code] = true
	}
	for _, v := range f.Filters.Values("status") {
		if err := api.ValidateContainerState(api.ContainerState(v)); err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'status=%s': %w", v, err)
		}
		f.All = true
	}
	tasks, err := f.Filters.Bool("is-task", false)
	if err != nil {
		return err
	}
	f.tasks = tasks
	for _, v := range f.Filters.Values("health") {
		if err := api.ValidateHealthStatus(api.HealthStatus(v)); err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'health=%s': %w", v, err)
		}
	}
	return nil
}

func addPorts(ports map[string]bool, key, value string) error {
	if strings.Contains(value, ":") {
		return fmt.Errorf("filter for '%s' should not contain ':': %s", key, value)
	}
	r, err := network.ParsePortRange(value)
	if err != nil {
		return fmt.Errorf("error while looking up for %s %s: %w", key, value, err)
	}
	for p := range r.All() {
		ports[p.String()] = true
	}
	return nil
}

// ancestors are the images of names, and all that were built on them. An unknown name is no error: nothing is of it.
func (s *Service) ancestors(ctx context.Context, refs []string) map[digest.Digest]bool {
	if len(refs) == 0 {
		return nil
	}
	all := map[digest.Digest]bool{}
	var add func(digest.Digest)
	add = func(d digest.Digest) {
		if all[d] {
			return
		}
		all[d] = true
		children, err := s.Images.Children(ctx, d)
		if err != nil {
			slog.Warn("children of an image", "image", d, "error", err)
		}
		for _, child := range children {
			add(child)
		}
	}
	for _, ref := range refs {
		img, err := s.Images.Resolve(ctx, ref, nil)
		if err != nil {
			slog.Warn("ancestor not found", "image", ref, "error", err)
			continue
		}
		add(img.Target.Digest)
	}
	return all
}

// cheap says whether a record passes, without its networks and mounts.
func (f *filter) cheap(c *container.Container, st container.State) bool {
	if f.ids != nil && !f.ids[c.ID] {
		return false
	}
	if !active(st) && !f.All && f.Limit <= 0 {
		return false
	}
	var labels, annotations map[string]string
	if c.Config != nil {
		labels = c.Config.Labels
	}
	if c.HostConfig != nil {
		annotations = c.HostConfig.Annotations
	}
	switch {
	case f.tasks,
		!f.Filters.Match("name", "/"+c.Name) && !f.Filters.Match("name", c.Name),
		!f.Filters.Match("id", c.ID),
		!f.Filters.Labels("label", labels),
		!f.Filters.Labels("annotation", annotations),
		len(f.exited) > 0 && (!f.exited[st.ExitCode] || active(st) || st.StartedAt.IsZero()),
		!f.Filters.Match("status", string(stateOf(st))),
		!f.Filters.Exact("health", string(healthOf(st.Health).Status)),
		f.ancestors != nil && !f.ancestors[c.Image.Target.Digest]:
		return false
	}
	return true
}

// full says whether an entry passes what needs its networks and mounts.
func (f *filter) full(sum *api.Summary) bool {
	if len(f.volumes) > 0 && !hasVolume(sum.Mounts, f.volumes) {
		return false
	}
	if len(f.networks) > 0 && !hasNetwork(sum.NetworkSettings.Networks, f.networks) {
		return false
	}
	return len(f.expose)+len(f.publish) == 0 || f.hasPort(sum.Ports)
}

func (f *filter) hasPort(list []api.PortSummary) bool {
	for _, p := range list {
		if f.publish[fmt.Sprintf("%d/%s", p.PublicPort, p.Type)] || f.expose[fmt.Sprintf("%d/%s", p.PrivatePort, p.Type)] {
			return true
		}
	}
	return false
}

func hasVolume(mounts []api.MountPoint, wanted []string) bool {
	for _, m := range mounts {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		for _, w := range wanted {
			if w == m.Destination || w == name {
				return true
			}
		}
	}
	return false
}

func hasNetwork(networks map[string]*network.EndpointSettings, wanted []string) bool {
	for name, ep := range networks {
		for _, w := range wanted {
			if w == name || strings.HasPrefix(ep.NetworkID, w) {
				return true
			}
		}
	}
	return false
}
