package mounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/idmap"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// Prepare makes all mounts of a container usable on the host right before its start: volumes are mounted, missing
// bind sources made or refused, subpaths opened. It returns the mounts with their sources. Finish is its reverse.
//
// A part of a volume is opened here without leaving the volume, and what was opened is bound to a place of ours: the
// runtime finds that file or folder whatever becomes of the path meanwhile.
func (s *Service) Prepare(ctx context.Context, c *container.Container) ([]container.Mount, error) {
	var list []container.Mount
	for _, m := range c.Mounts {
		if _, tmpfs := c.HostConfig.Tmpfs[m.Destination]; tmpfs {
			continue
		}
		err := s.prepare(ctx, c, &m)
		if err != nil {
			return nil, errors.Join(err, s.Finish(context.WithoutCancel(ctx), c))
		}
		list = append(list, m)
	}
	return list, nil
}

func (s *Service) prepare(ctx context.Context, c *container.Container, m *container.Mount) error {
	var err error
	switch m.Type {
	case mount.TypeBind:
		err = prepareBind(m)
	case mount.TypeVolume:
		err = s.prepareVolume(ctx, c, m)
	case mount.TypeImage:
		err = s.prepareImage(ctx, c.ID, m)
	default:
		return nil
	}
	if err == nil && label.RelabelNeeded(m.Mode) {
		err = relabel(m, c.MountLabel)
	}
	return err
}

func relabel(m *container.Mount, mountLabel string) error {
	source, err := filepath.EvalSymlinks(m.Source) //nolint:forbidigo // A path of the host that its owner gave us.
	if err != nil {
		return fmt.Errorf("error evaluating symlinks from mount source %q: %w", m.Source, err)
	}
	if err := label.Relabel(source, mountLabel, label.IsShared(m.Mode)); err != nil && !errors.Is(err, syscall.ENOTSUP) {
		return fmt.Errorf("error setting label on mount source '%s': %w", source, err)
	}
	return nil
}

func prepareBind(m *container.Mount) error {
	o := m.Spec.BindOptions
	if o == nil {
		o = &mount.BindOptions{}
	}
	switch {
	case !m.Spec.ReadOnly && o.ReadOnlyNonRecursive:
		return errors.New("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
	case !m.Spec.ReadOnly && o.ReadOnlyForceRecursive:
		return errors.New("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
	case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
		return errors.New("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")
	}
	_, err := os.Stat(m.Source)
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // What is wrong with it otherwise, the runtime says better.
	}
	if !o.CreateMountpoint {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid mount config for type %q: %w", m.Type, sourceMissing(m.Source))
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
}

func (s *Service) prepareVolume(ctx context.Context, c *container.Container, m *container.Mount) error {
	id := c.ID
	data, err := s.Volumes.Mount(ctx, m.Name, id)
	if err != nil {
		return fmt.Errorf("error while mounting volume '%s': %w", m.Source, err)
	}
	m.Source = data
	sub := "."
	if o := m.Spec.VolumeOptions; o != nil && o.Subpath != "" {
		sub = o.Subpath
	}
	if sub != "." || !c.IDs.Empty() {
		if err := s.showVolume(c, m, data, sub); err != nil {
			return err
		}
	}
	s.Events.Publish(events.VolumeEventType, events.ActionMount, m.Name, map[string]string{
		"driver": m.Driver, "container": id, "destination": m.Destination,
		"read/write": strconv.FormatBool(m.RW), "propagation": string(m.Propagation),
	})
	return nil
}

// showVolume gives a part of a volume a place on the host. To a container with users of its own, files belong to whom
// they belong to on disk: so containers with different ones can share a volume.
func (s *Service) showVolume(c *container.Container, m *container.Mount, data, sub string) error {
	tree, err := openPart(data, sub)
	if err != nil {
		return err
	}
	if !c.IDs.Empty() {
		if err := idmap.Apply(tree, c.IDs); err != nil {
			tree.Close()
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
	}
	m.Source, err = s.show(tree, c.ID, m.Destination)
	return err
}

func (s *Service) prepareImage(ctx context.Context, id string, m *container.Mount) error {
	tree, err := s.openImage(ctx, id, m)
	if err != nil {
		return err
	}
	m.Source, err = s.show(tree, id, m.Destination)
	return err
}

// openImage is the image of a mount, or the part of it that was asked for.
func (s *Service) openImage(ctx context.Context, id string, m *container.Mount) (*os.File, error) {
	root, err := s.Roots.OpenView(ctx, viewKey(id, m.Destination))
	if err != nil {
		return nil, err
	}
	o := m.Spec.ImageOptions
	if o == nil || o.Subpath == "" {
		return root.Root, nil
	}
	defer root.Root.Close()
	// A part cannot be cloned from a mount that is nowhere (before Linux 6.15): it is shown for a moment.
	place := s.place(id, m.Destination) + "-" + names.ID()[:8]
	if err := showAt(root.Root, place); err != nil {
		return nil, err
	}
	part, err := openPart(place, o.Subpath)
	if err := hideAt(place); err != nil {
		slog.Warn("a part of an image stays mounted until the container ends", "path", place, "error", err)
	}
	return part, err
}

// openPart opens a file or folder inside a folder, and not outside of it by any link, as a detached mount.
func openPart(base, sub string) (*os.File, error) {
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fault.Errorf(errdefs.ErrNotFound, "cannot access path %s: %w", base, err)
	}
	defer unix.Close(dir)
	full := filepath.Join(base, sub)
	for {
		fd, err := unix.Openat2(dir, sub, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch err {
		case nil:
		case unix.EAGAIN, unix.EINTR:
			continue
		case unix.EXDEV:
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "path concatenation escapes the base directory, base: %s, subpath: %s", base, sub)
		case unix.ENOENT, unix.ELOOP, unix.ENOTDIR:
			return nil, fault.Errorf(errdefs.ErrNotFound, "cannot access path %s: %w", full, whereMissing(base, sub, err))
		default:
			return nil, &os.PathError{Op: "openat2", Path: full, Err: err}
		}
		f := os.NewFile(uintptr(fd), full)
		defer f.Close()
		return rootfs.CloneFile(f, true)
	}
}

// whereMissing says which part of a path is not there.
func whereMissing(base, sub string, err error) error {
	for name := range strings.SplitSeq(filepath.Clean(sub), "/") {
		base = filepath.Join(base, name)
		if _, err := os.Lstat(base); err != nil {
			return err
		}
	}
	return err
}

// show gives a detached mount a place on the host, and closes it.
func (s *Service) show(tree *os.File, id, destination string) (string, error) {
	defer tree.Close()
	place := s.place(id, destination)
	return place, showAt(tree, place)
}

func showAt(tree *os.File, place string) error {
	if err := os.MkdirAll(filepath.Dir(place), 0o711); err != nil {
		return err
	}
	info, err := tree.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(place, 0o711)
	} else {
		var f *os.File
		if f, err = os.OpenFile(place, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600); err == nil {
			err = f.Close()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return rootfs.Attach(tree, place)
}

// Finish gives back what Prepare made. It can be repeated.
func (s *Service) Finish(ctx context.Context, c *container.Container) error {
	// First what is shown: it holds on to volumes.
	errs := []error{s.hide(c.ID)}
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		was, err := s.Volumes.Unmount(ctx, m.Name, c.ID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if was {
			s.Events.Publish(events.VolumeEventType, events.ActionUnmount, m.Name, map[string]string{"driver": m.Driver, "container": c.ID})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("error while unmounting volumes for container %s: %w", c.ID, err)
	}
	return nil
}

// hide takes away the places on the host that a container's mounts were shown at.
func (s *Service) hide(id string) error {
	dir := filepath.Join(s.Dir, id)
	places, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range places {
		place := filepath.Join(dir, p.Name())
		if err := hideAt(place); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}

func hideAt(place string) error {
	// Several starts may have mounted over each other when an engine was killed between.
	var err error
	for err == nil {
		err = unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", place, err)
	}
	// Remove, and nothing that goes down: should it still be mounted, its files are not ours.
	return os.Remove(place)
}

// Release takes the notes of use away when a container is removed; with anonymous volumes, when asked.
func (s *Service) Release(ctx context.Context, c *container.Container, anonymous bool) error {
	errs := []error{s.Finish(ctx, c)}
	for _, m := range c.Mounts {
		switch m.Type {
		case mount.TypeVolume:
			if m.Anonymous && !anonymous {
				errs = append(errs, s.Volumes.Keep(m.Name, c.ID))
			}
			s.Volumes.Unuse(m.Name, c.ID)
		case mount.TypeImage:
			errs = append(errs, s.Roots.Remove(ctx, viewKey(c.ID, m.Destination)))
		default:
		}
	}
	for _, m := range c.Mounts {
		if !anonymous || !m.Anonymous {
			continue
		}
		// Another container may have it by VolumesFrom.
		if err := s.Volumes.Remove(ctx, m.Name, true); err != nil && !errdefs.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("Error removing volumes:\n%w", err) //nolint:staticcheck // moby's words.
	}
	return nil
}

// Sweep takes away what is left of containers that are not known: their places on the host, and volumes that were made
// for them. Restore must have been called for all that are.
func (s *Service) Sweep(ctx context.Context, known func(id string) bool) error {
	places, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, p := range places {
		if !known(p.Name()) {
			errs = append(errs, s.hide(p.Name()))
		}
	}
	return errors.Join(append(errs, s.Volumes.Sweep(ctx, known))...)
}

// Restore notes what a container of an earlier engine has: the volumes that it uses, and those that are mounted when it
// runs. What is left of one that ended meanwhile is taken away.
func (s *Service) Restore(ctx context.Context, c *container.Container, running bool) error {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		// One that was removed by hand is told about at the next start.
		if err := s.Volumes.Use(m.Name, c.ID); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if running {
			s.Volumes.Mounted(m.Name, c.ID)
		}
	}
	if running {
		return nil
	}
	// What cannot be taken away now is tried again when it starts or is removed.
	if err := s.Finish(ctx, c); err != nil {
		slog.Warn("mounts are left of a container that ended", "container", c.ID, "error", err)
	}
	return nil
}
