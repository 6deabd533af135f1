package archive

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// Containers finds containers, and lets one operation at a time work on each.
type Containers interface {
	Get(ref string) (*container.Container, error)
	Lock(id string) (unlock func())
	// Dir is the folder of a container; its hosts, hostname and resolv.conf are in there.
	Dir(id string) string
}

// Roots opens the roots of containers.
type Roots interface {
	Open(ctx context.Context, id string) (*rootfs.Tree, error)
	OpenWritable(ctx context.Context, id string) (*rootfs.Tree, error)
	Changes(ctx context.Context, id string) ([]api.FilesystemChange, error)
}

// Mounts opens what containers see beside their roots.
type Mounts interface {
	Attach(ctx context.Context, c *container.Container) ([]rootfs.Attachment, error)
}

// Events tells others what was done.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Service packs and unpacks paths of containers, in a view of their files that nothing leads out of.
type Service struct {
	containers Containers
	roots      Roots
	mounts     Mounts
	events     Events
}

// New is a service.
func New(c Containers, r Roots, m Mounts, e Events) *Service { return &Service{c, r, m, e} }

func (s *Service) publish(c *container.Container, action events.Action) {
	attributes := map[string]string{}
	maps.Copy(attributes, c.Config.Labels)
	if c.Config.Image != "" {
		attributes["image"] = c.Config.Image
	}
	attributes["name"] = c.Name
	s.events.Publish(events.ContainerEventType, action, c.ID, attributes)
}

// enter opens a view of a container's files. Of one that runs it is what its processes have, and they go on; one that
// doesn't is not started while it is written.
func (s *Service) enter(ctx context.Context, id string, write bool) (view *rootfs.View, leave func(), err error) {
	unlock := s.containers.Lock(id)
	keep := false
	defer func() {
		if !keep {
			unlock()
		}
	}()
	c, err := s.containers.Get(id)
	if err != nil {
		return nil, nil, err
	}
	if !write {
		view, err = s.view(ctx, c, s.roots.Open)
		if err == nil {
			s.mounted(c)
			return view, func() { view.Close(); s.unmounted(c) }, nil
		}
		if !rootfs.IsUnplaced(err) {
			return nil, nil, err
		}
		// It never ran, so the places of its mounts are not there: they are made now.
	}
	view, err = s.view(ctx, c, s.roots.OpenWritable)
	if err != nil {
		return nil, nil, err
	}
	s.mounted(c)
	if c.State.Running() {
		return view, func() { view.Close(); s.unmounted(c) }, nil
	}
	keep = true
	return view, func() { view.CloseAndWait(); s.unmounted(c); unlock() }, nil
}

// mounted tells that the container's volumes are in use, as a start would.
func (s *Service) mounted(c *container.Container) {
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			s.events.Publish(events.VolumeEventType, events.ActionMount, m.Name, map[string]string{
				"driver": m.Driver, "container": c.ID, "destination": m.Destination,
				"read/write": strconv.FormatBool(m.RW), "propagation": string(m.Propagation),
			})
		}
	}
}

func (s *Service) unmounted(c *container.Container) {
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			s.events.Publish(events.VolumeEventType, events.ActionUnmount, m.Name, map[string]string{"driver": m.Driver, "container": c.ID})
		}
	}
}

func (s *Service) view(ctx context.Context, c *container.Container, open func(context.Context, string) (*rootfs.Tree, error)) (*rootfs.View, error) {
	mounts, err := s.mounts.Attach(ctx, c)
	if err != nil {
		return nil, err
	}
	mounts = append(mounts, s.files(c)...)
	tree, err := open(ctx, c.ID)
	if err != nil {
		for _, m := range mounts {
			m.Tree.Close()
		}
		return nil, err
	}
	return rootfs.Enter(tree, mounts)
}

// files are those that every container gets from us, as far as they were made already.
func (s *Service) files(c *container.Container) []rootfs.Attachment {
	var list []rootfs.Attachment
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		dest := "/etc/" + name
		if covered(c, dest) {
			continue
		}
		if tree, err := rootfs.Clone(filepath.Join(s.containers.Dir(c.ID), name), false); err == nil {
			list = append(list, rootfs.Attachment{Tree: tree, Destination: dest})
		}
	}
	return list
}

func covered(c *container.Container, dest string) bool {
	for _, m := range c.Mounts {
		if m.Destination == dest {
			return true
		}
	}
	return false
}

// told gives an error of looking at a path the words that clients know.
func told(err error, ref, path string) error {
	if err == nil || fault.Class(err) != nil {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Errorf(errdefs.ErrNotFound, "Could not find the file %s in container %s", path, ref)
	}
	return fault.As(errdefs.ErrInternal, err)
}

// Stat says what is at a path of a container. A link is told as such, with where it leads.
func (s *Service) Stat(ctx context.Context, ref, path string) (*api.PathStat, error) {
	c, err := s.containers.Get(ref)
	if err != nil {
		return nil, err
	}
	view, leave, err := s.enter(ctx, c.ID, false)
	if err != nil {
		return nil, told(err, ref, path)
	}
	defer leave()
	var stat *api.PathStat
	err = view.Run(func() error {
		stat, err = statHere(path)
		return err
	})
	if err != nil {
		return nil, told(err, ref, path)
	}
	return stat, nil
}

// statHere works inside a view.
func statHere(path string) (*api.PathStat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	stat := &api.PathStat{Name: filepath.Base(path), Size: info.Size(), Mode: info.Mode(), Mtime: info.ModTime()}
	if info.Mode()&os.ModeSymlink != 0 {
		stat.LinkTarget, err = Follow(path)
	}
	return stat, err
}

// Changes compares a container's root with its image.
func (s *Service) Changes(ctx context.Context, ref string) ([]api.FilesystemChange, error) {
	c, err := s.containers.Get(ref)
	if err != nil {
		return nil, err
	}
	return s.roots.Changes(ctx, c.ID)
}

// bare is a view of a container's root alone.
func (s *Service) bare(ctx context.Context, c *container.Container) (*rootfs.View, error) {
	defer s.containers.Lock(c.ID)()
	tree, err := s.roots.Open(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	return rootfs.Enter(tree, nil)
}
