package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"

	goarchive "github.com/moby/go-archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/archive"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/rootfs"
)

// tree is files to copy from: a context, an image, a download. All is done inside its view.
type tree struct {
	view *rootfs.View
	// release gives back what the tree is of.
	release func()
}

// close may be called of none.
func (t *tree) close() {
	if t == nil {
		return
	}
	t.view.CloseAndWait()
	if t.release != nil {
		t.release()
	}
}

// openFolder is a tree of a folder of the host, which can be written.
func openFolder(dir string) (*tree, error) {
	root, err := rootfs.Clone(dir, false)
	if err != nil {
		return nil, err
	}
	view, err := rootfs.Enter(&rootfs.Tree{Root: root}, nil)
	if err != nil {
		return nil, err
	}
	return &tree{view: view}, nil
}

// unpack puts an archive into the tree. Its files belong to whom it says, unless owner is set.
func (t *tree) unpack(in io.Reader, dir string, owner *owner) error {
	options, cleanup, err := goarchive.WithProcSelfFD(&goarchive.TarOptions{BestEffortXattrs: true})
	if err != nil {
		return err
	}
	defer cleanup()
	if owner != nil {
		options.ChownOpts = &goarchive.ChownOpts{UID: owner.uid, GID: owner.gid}
	}
	return t.view.Run(func() error { return goarchive.UntarUncompressed(in, dir, options) })
}

// inside is a path of a tree as clients write it, from its root. One that leads above it by ".." is refused.
func inside(name string) (string, error) {
	const root = "/context"
	joined := path.Join(root, name)
	if joined != root && !strings.HasPrefix(joined, root+"/") {
		return "", fmt.Errorf("forbidden path outside the build context: %s ()", name)
	}
	return path.Join("/", strings.TrimPrefix(joined, root)), nil
}

// stat looks at what a path leads to; links stay in the tree. A missing one is told by the name that the client knows.
func (t *tree) stat(name string) (info fs.FileInfo, err error) {
	abs, err := inside(name)
	if err != nil {
		return nil, err
	}
	err = t.view.Run(func() error {
		found, err := archive.Follow(abs)
		if err != nil {
			return err
		}
		info, err = os.Lstat(found)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

// open opens a regular file of the tree. The descriptor is good outside, too.
func (t *tree) open(name string) (f *os.File, err error) {
	abs, err := inside(name)
	if err != nil {
		return nil, err
	}
	err = t.view.Run(func() error {
		f, err = openHere(abs)
		return err
	})
	return f, err
}

// openHere works inside a view. A FIFO or a device of that name must not hold us.
func openHere(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("is not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// imageTree is the files of an image, or of an empty one (nil).
func (b *build) imageTree(ctx context.Context, img *images.Image) (*tree, error) {
	key := snapshotPrefix + names.ID()
	if err := b.Roots.View(ctx, key, b.id, chainOf(img)); err != nil {
		return nil, err
	}
	release := func() { b.removeSnapshot(ctx, key) }
	root, err := b.Roots.OpenView(ctx, key)
	if err != nil {
		release()
		return nil, err
	}
	view, err := rootfs.Enter(root, nil)
	if err != nil {
		release()
		return nil, err
	}
	return &tree{view: view, release: release}, nil
}

// snapshotPrefix begins the names of snapshots that builds use for a moment.
const snapshotPrefix = "gantry-build-"

func (b *build) removeSnapshot(ctx context.Context, key string) {
	if err := b.Roots.Remove(context.WithoutCancel(ctx), key); err != nil {
		slog.Error("a snapshot of a build is left until the next start", "snapshot", key, "error", err)
	}
}

func chainOf(img *images.Image) digest.Digest {
	if img == nil {
		return ""
	}
	return img.ChainID
}
