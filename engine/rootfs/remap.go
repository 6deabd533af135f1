package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/idmap"
)

// A container with users of its own has its root on layers that are shown with its ids: an overlay itself cannot be
// mapped, but what it lies on. On disk all files have the ids that the container sees, so images, commits and diffs know
// nothing of it. What is shown is needed only until the overlay is mounted.

// Remap shows the layers of a root with a container's ids, and says what is to be mounted on top of that. Call done when
// it is mounted.
func (s *Service) Remap(_ context.Context, id string, mounts []mount.Mount, ids user.IdentityMapping) (_ []mount.Mount, done func() error, err error) {
	if len(mounts) != 1 {
		return nil, nil, fmt.Errorf("root of container %s: %d mounts cannot be mapped", id, len(mounts))
	}
	m := mounts[0]
	base, o := m.Source, overlay{}
	if m.Type == "overlay" {
		o = parseOverlay(m.Options)
		base = commonDir(append([]string{o.upper, o.work}, o.lower...))
	}
	if base == "" {
		return nil, nil, fmt.Errorf("root of container %s: its layers are in no common folder", id)
	}
	tree, err := Clone(base, false)
	if err != nil {
		return nil, nil, err
	}
	defer tree.Close()
	if err := idmap.Apply(tree, ids); err != nil {
		return nil, nil, err
	}
	place := filepath.Join(s.shown, id)
	if err := os.MkdirAll(place, 0o711); err != nil {
		return nil, nil, err
	}
	if err := Attach(tree, place); err != nil {
		return nil, nil, errors.Join(err, os.Remove(place))
	}
	if m.Type == "overlay" {
		move := func(p string) string { return path.Join(place, strings.TrimPrefix(p, base)) }
		o.upper, o.work = move(o.upper), move(o.work)
		for i, l := range o.lower {
			o.lower[i] = move(l)
		}
		m.Options = o.options()
	} else {
		m.Source = place
	}
	return []mount.Mount{m}, func() error { return hide(place) }, nil
}

// hide takes away what Remap showed.
func hide(place string) error {
	var err error
	for err == nil {
		err = unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != unix.EINVAL && err != unix.ENOENT {
		return &os.PathError{Op: "unmount", Path: place, Err: err}
	}
	// Remove, and nothing that goes down: should it still be mounted, its files are not ours.
	if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepShown takes away what engines left that were killed in a start.
func (s *Service) sweepShown() error {
	places, err := os.ReadDir(s.shown)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, p := range places {
		errs = append(errs, hide(filepath.Join(s.shown, p.Name())))
	}
	return errors.Join(errs...)
}
