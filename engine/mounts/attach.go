package mounts

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// Attach opens all mounts of a container for a look at its files as it sees them, whether it runs or not. They are
// detached: closing them is all that they need. Memory file systems are those of running processes alone, and not among
// them.
func (s *Service) Attach(ctx context.Context, c *container.Container) ([]rootfs.Attachment, error) {
	var list []rootfs.Attachment
	for _, m := range c.Mounts {
		if _, tmpfs := c.HostConfig.Tmpfs[m.Destination]; tmpfs || m.Type == mount.TypeTmpfs {
			continue
		}
		tree, err := s.attach(ctx, c.ID, m)
		if err == nil && tree != nil && !m.RW {
			err = rootfs.Protect(tree)
		}
		if tree != nil {
			list = append(list, rootfs.Attachment{Tree: tree, Destination: m.Destination, AsDisk: m.Type == mount.TypeVolume})
		}
		if err != nil {
			for _, a := range list {
				a.Tree.Close()
			}
			return nil, err
		}
	}
	return list, nil
}

// attach opens one mount. It is nil for what is not to be looked at.
func (s *Service) attach(ctx context.Context, id string, m container.Mount) (*os.File, error) {
	switch m.Type {
	case mount.TypeVolume:
		return s.openVolume(ctx, id, m)
	case mount.TypeImage:
		return s.openImage(ctx, id, &m)
	default:
	}
	if err := prepareBind(&m); err != nil {
		return nil, err
	}
	// The links of a proc file system lead into processes of the host, from wherever they are followed.
	var st unix.Statfs_t
	if err := unix.Statfs(m.Source, &st); err == nil && st.Type == unix.PROC_SUPER_MAGIC {
		return nil, nil
	}
	tree, err := rootfs.Clone(m.Source, m.Spec.BindOptions == nil || !m.Spec.BindOptions.NonRecursive)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return tree, err
}

// openVolume is the data of a volume, or the part of it that was asked for, as a detached mount.
func (s *Service) openVolume(ctx context.Context, id string, m container.Mount) (tree *os.File, err error) {
	look := id + "-look"
	data, err := s.Volumes.Mount(ctx, m.Name, look)
	if err != nil {
		return nil, err
	}
	// What was cloned stays, also of a volume that is mounted only for us.
	defer func() {
		if _, uerr := s.Volumes.Unmount(context.WithoutCancel(ctx), m.Name, look); uerr != nil {
			err = errors.Join(err, uerr)
		}
	}()
	if o := m.Spec.VolumeOptions; o != nil && o.Subpath != "" {
		return openPart(data, o.Subpath)
	}
	return rootfs.Clone(data, true)
}
