package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/names"
)

// Between an image and its containers lies one layer that they all share: the places that are mounted over in every
// container, and /.dockerenv. So neither diff nor commit tells of them, and a container costs no mount to be made.

// initKey names the init layer of an image.
func initKey(chain digest.Digest) string {
	if chain == "" {
		return "gantry-init-scratch"
	}
	return "gantry-init-" + chain.String()
}

// makeInit makes the init layer of an image, unless somebody else does.
func (s *Service) makeInit(ctx context.Context, chain digest.Digest) (err error) {
	sn := s.snapshots()
	key := initKey(chain) + "-" + names.ID()[:12]
	// It needs no label of its own: the caller's lease keeps it.
	mounts, err := sn.Prepare(ctx, key, chain.String())
	if err != nil {
		return fmt.Errorf("init layer of image %s: %w", chain, err)
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, sn.Remove(context.WithoutCancel(ctx), key))
		}
	}()
	root, err := detach(mounts, writable)
	if err != nil {
		return fmt.Errorf("init layer of image %s: %w", chain, err)
	}
	err = populate(root)
	root.Close()
	if err != nil {
		return fmt.Errorf("init layer of image %s: %w", chain, err)
	}
	err = sn.Commit(ctx, initKey(chain), key, snapshots.WithLabels(s.initLabels(chain)))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	committed = err == nil
	return err
}

// initLabels make the init layer live as long as its image does, where the manager knows such references backwards
// (containerd since 2.3). Elsewhere it lives as long as a container on top of it, and is made again.
func (s *Service) initLabels(chain digest.Digest) map[string]string {
	if chain == "" {
		return map[string]string{gcRoot: time.Now().UTC().Format(time.RFC3339)}
	}
	return map[string]string{"containerd.io/gc.bref.snapshot." + s.snapshotter: chain.String()}
}

// populate makes what is missing of the places that are mounted over, with moby's modes.
func populate(root *os.File) error {
	for _, dir := range []string{"/dev/pts", "/dev/shm", "/proc", "/sys"} {
		if err := mkdirAll(root, dir, 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{"/.dockerenv", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/dev/console"} {
		if err := touch(root, file, 0o755); err != nil {
			return err
		}
	}
	dir, err := openIn(root, "/etc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Symlinkat("/proc/mounts", int(dir.Fd()), "mtab"); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "symlink", Path: "/etc/mtab", Err: err}
	}
	return nil
}

// touch makes an empty file with its folders, unless there is something of that name.
func touch(root *os.File, name string, mode uint32) error {
	if f, err := openIn(root, name, unix.O_PATH); err == nil {
		return f.Close()
	}
	if err := mkdirAll(root, path.Dir(name), 0o755); err != nil {
		return err
	}
	dir, err := openIn(root, path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), path.Base(name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	if err == unix.EEXIST {
		return nil // A link that leads nowhere: the image wants it so.
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	defer unix.Close(fd)
	// The umask may have taken bits away.
	return unix.Fchmod(fd, mode)
}
