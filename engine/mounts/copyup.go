package mounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// CopyUp makes a container's working folder and fills its empty volumes from its image. It is called once, when the
// container's root was made.
func (s *Service) CopyUp(ctx context.Context, c *container.Container) error {
	if err := s.workingDir(ctx, c); err != nil {
		return err
	}
	var root *rootfs.Tree
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume || !m.CopyUp && !m.Anonymous {
			continue
		}
		if root == nil {
			var err error
			if root, err = s.Roots.Open(ctx, c.ID); err != nil {
				return err
			}
			defer root.Root.Close()
		}
		if err := s.copyUp(ctx, c.ID, root, m); err != nil {
			return err
		}
	}
	return nil
}

// workingDir makes the folder that a container starts in: it is there from the beginning, for docker cp.
func (s *Service) workingDir(ctx context.Context, c *container.Container) error {
	dir := path.Join("/", c.Config.WorkingDir)
	if dir == "/" {
		return nil
	}
	look, err := s.Roots.Open(ctx, c.ID)
	if err != nil {
		return err
	}
	defer look.Root.Close()
	f, err := look.OpenFile(dir, unix.O_PATH)
	if err == nil {
		defer f.Close()
		if info, err := f.Stat(); err == nil && !info.IsDir() {
			return fmt.Errorf("Cannot mkdir: %s is not a directory", c.Config.WorkingDir) //nolint:staticcheck // moby's words.
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	root, err := s.Roots.OpenWritable(ctx, c.ID)
	if err != nil {
		return err
	}
	defer root.Root.Close()
	return root.MkdirAll(dir, 0o755)
}

func (s *Service) copyUp(ctx context.Context, id string, root *rootfs.Tree, m container.Mount) error {
	from, err := root.OpenFile(m.Destination, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if m.Anonymous && m.Spec.Target == "" { // One of the image's own.
			return fmt.Errorf("cannot mount volume over existing file, file exists %s", m.Destination)
		}
		return nil
	}
	if !m.CopyUp {
		return nil
	}
	to, err := s.openVolume(ctx, id, m)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to populate volume: %w", err)
	}
	empty, err := isEmpty(to)
	if err != nil || !empty {
		to.Close()
		return err
	}
	return s.copyInto(ctx, to, id, m.Destination)
}

// isEmpty says whether a detached mount has nothing in it.
func isEmpty(tree *os.File) (bool, error) {
	fd, err := unix.Openat(int(tree.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("openat", err)
	}
	dir := os.NewFile(uintptr(fd), "volume")
	defer dir.Close()
	names, err := dir.Readdirnames(1)
	if len(names) == 0 {
		return true, nil
	}
	return false, err
}

// copyInto copies a folder of a container's root into a volume, in a view of that root whose only other mount is the
// volume: another container may have the volume already, and put links into it while we copy.
func (s *Service) copyInto(ctx context.Context, to *os.File, id, folder string) error {
	root, err := s.Roots.Open(ctx, id)
	if err != nil {
		to.Close()
		return err
	}
	// Every root has these two, and nothing of the image is in them.
	dst := "/proc"
	if strings.HasPrefix(folder+"/", dst+"/") {
		dst = "/sys"
	}
	view, err := rootfs.Enter(root, []rootfs.Attachment{{Tree: to, Destination: dst}})
	if err != nil {
		return err
	}
	defer view.Close()
	return view.Run(func() error {
		return continuity.CopyDir(dst, folder, continuity.WithXAttrErrorHandler(ignoreUnsupported))
	})
}

// ignoreUnsupported lets attributes go that the volume's file system does not have.
func ignoreUnsupported(_, _, _ string, err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
