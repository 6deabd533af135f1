package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	api "github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/names"
)

// Changes compares a container's root with its image: by its own layer alone where that is a folder of an overlay, by
// a walk through both otherwise. A folder is named before what changed in it.
func (s *Service) Changes(ctx context.Context, id string) ([]api.FilesystemChange, error) {
	mounts, err := s.Mounts(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(mounts) == 1 && mounts[0].Type == "overlay" {
		o := parseOverlay(mounts[0].Options)
		changes, err := o.changes(ctx)
		if !errors.Is(err, errNotPlain) {
			return changes, err
		}
	}
	return s.compareTrees(ctx, id)
}

// errNotPlain says that an overlay's own layer names files of those below, so it does not tell everything itself.
var errNotPlain = errors.New("the layer refers to others")

func (o overlay) changes(ctx context.Context) ([]api.FilesystemChange, error) {
	own, err := os.Open(o.upper)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	image, err := detach([]mount.Mount{{Type: "overlay", Options: overlay{lower: o.lower, flags: o.flags}.options()}}, readonly)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	c := comparison{ctx: ctx, sparse: true}
	if err := c.root(image, own); err != nil {
		return nil, err
	}
	return c.changes, nil
}

// compareTrees compares all of a container's root with all of its image.
func (s *Service) compareTrees(ctx context.Context, id string) ([]api.FilesystemChange, error) {
	sn := s.snapshots()
	info, err := sn.Stat(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	view := id + "-parent-" + names.ID()[:12]
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	mounts, err := sn.View(ctx, view, info.Parent)
	if err != nil {
		return nil, fmt.Errorf("image of container %s: %w", id, err)
	}
	defer func() { _ = s.Remove(context.WithoutCancel(ctx), view) }()
	image, err := detach(mounts, readonly)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	tree, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer tree.Root.Close()
	c := comparison{ctx: ctx}
	if err := c.root(image, tree.Root); err != nil {
		return nil, err
	}
	return c.changes, nil
}

// comparison walks through a tree and the one that it was made from.
type comparison struct {
	ctx context.Context //nolint:containedctx // It lives as long as one walk.
	// sparse says that the new tree is an overlay's layer: what it does not have is as it was, whiteouts are what is gone.
	sparse  bool
	changes []api.FilesystemChange
}

func (c *comparison) root(was, is *os.File) error {
	// Descriptors of detached mounts are no open folders.
	oldDir, err := openIn(was, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer oldDir.Close()
	newDir, err := openIn(is, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer newDir.Close()
	return c.dir("/", oldDir, newDir)
}

func (c *comparison) add(kind api.ChangeType, name string) {
	c.changes = append(c.changes, api.FilesystemChange{Kind: kind, Path: name})
}

// dir compares a folder with what it was; nil when it was none.
func (c *comparison) dir(name string, was, is *os.File) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	whole := !c.sparse
	if c.sparse {
		opaque, err := layerMarks(is)
		if err != nil {
			return err
		}
		whole = opaque
	}
	entries, err := is.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(entries)
	for _, entry := range entries {
		if err := c.entry(path.Join(name, entry), entry, was, is); err != nil {
			return err
		}
	}
	if !whole || was == nil {
		return nil
	}
	old, err := was.Readdirnames(-1)
	if err != nil {
		return err
	}
	gone := maps.Collect(func(yield func(string, bool) bool) {
		for _, n := range old {
			if !yield(n, true) {
				return
			}
		}
	})
	for _, n := range entries {
		delete(gone, n)
	}
	for _, n := range slices.Sorted(maps.Keys(gone)) {
		c.add(api.ChangeDelete, path.Join(name, n))
	}
	return nil
}

// layerMarks says whether a folder of an overlay's layer hides the one below it. Folders that were renamed and files
// whose contents are below name those, if the kernel does such things.
func layerMarks(dir *os.File) (opaque bool, err error) {
	buf := make([]byte, 16)
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		if n, err := unix.Fgetxattr(int(dir.Fd()), prefix+"redirect", nil); err == nil && n > 0 {
			return false, errNotPlain
		}
		n, err := unix.Fgetxattr(int(dir.Fd()), prefix+"opaque", buf)
		if err == nil && bytes.Equal(buf[:n], []byte("y")) {
			opaque = true
		}
		if err == nil && bytes.Equal(buf[:n], []byte("x")) {
			return false, errNotPlain // Whiteouts as attributes.
		}
	}
	return opaque, nil
}

// entry compares one name of a folder.
func (c *comparison) entry(name, entry string, was, is *os.File) error {
	var now, before unix.Stat_t
	err := unix.Fstatat(int(is.Fd()), entry, &now, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil // The container works on while we look.
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	existed := false
	if was != nil {
		err := unix.Fstatat(int(was.Fd()), entry, &before, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "stat", Path: name, Err: err}
		}
		existed = err == nil
	}
	if c.sparse && now.Mode&unix.S_IFMT == unix.S_IFCHR && now.Rdev == 0 {
		if existed {
			c.add(api.ChangeDelete, name)
		}
		return nil
	}
	start := len(c.changes)
	if isDir(now) {
		if err := c.inside(name, entry, existed && isDir(before), was, is); err != nil {
			return err
		}
	}
	switch {
	case !existed:
		c.changes = slices.Insert(c.changes, start, api.FilesystemChange{Kind: api.ChangeAdd, Path: name})
	case len(c.changes) > start || differs(before, now) || capabilities(was, entry) != capabilities(is, entry):
		c.changes = slices.Insert(c.changes, start, api.FilesystemChange{Kind: api.ChangeModify, Path: name})
	}
	return nil
}

// inside goes into a folder.
func (c *comparison) inside(name, entry string, existed bool, was, is *os.File) error {
	now, err := openDir(is, entry)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer now.Close()
	if !existed {
		return c.dir(name, nil, now)
	}
	before, err := openDir(was, entry)
	if err != nil {
		return err
	}
	defer before.Close()
	return c.dir(name, before, now)
}

func openDir(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func isDir(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

// differs compares what a file is and whose; of what is no folder also size and time.
func differs(a, b unix.Stat_t) bool {
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev {
		return true
	}
	return !isDir(a) && (a.Size != b.Size || a.Mtim != b.Mtim)
}

// capabilities are those that a program's file gives; setcap changes no time that is looked at.
func capabilities(dir *os.File, name string) string {
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), "security.capability", buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
