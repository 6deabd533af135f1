package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// Tree is a container's root as a descriptor: a mount that no namespace shows, so nothing is left when it is closed.
type Tree struct {
	Root *os.File
	// IDs are what its files' ids are those of; empty when they are as they are on disk.
	IDs user.IdentityMapping
}

// Open mounts a container's snapshot for a look, without its volumes. Of a container that runs it is the root that its
// processes see; of others it cannot be written.
func (s *Service) Open(ctx context.Context, id string) (*Tree, error) {
	return s.open(ctx, id, readonly)
}

// OpenWritable is Open for a change. Of a container that does not run there must be only one at a time, and none while
// it starts: the caller holds the container's lock.
func (s *Service) OpenWritable(ctx context.Context, id string) (*Tree, error) {
	return s.open(ctx, id, writable)
}

// OpenView mounts a snapshot that View made, as an image is: with its devices and programs.
func (s *Service) OpenView(ctx context.Context, key string) (*Tree, error) {
	mounts, err := s.Mounts(ctx, key)
	if err != nil {
		return nil, err
	}
	root, err := detach(mounts, readonly)
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", key, err)
	}
	return &Tree{Root: root}, nil
}

func (s *Service) open(ctx context.Context, id string, a access) (*Tree, error) {
	t, err := s.root(ctx, id, a)
	if err != nil {
		return nil, err
	}
	if err := setattr(t.Root, guarded); err != nil {
		t.Root.Close()
		return nil, err
	}
	return t, nil
}

func (s *Service) root(ctx context.Context, id string, a access) (*Tree, error) {
	if pid := s.pid(id); pid != 0 {
		root, err := rootOf(id, pid)
		if err == nil {
			t := &Tree{Root: root}
			if s.ids != nil {
				t.IDs = s.ids(id)
			}
			return t, nil
		}
		if !isGone(err) {
			return nil, fmt.Errorf("root of container %s: %w", id, err)
		}
	}
	mounts, err := s.Mounts(ctx, id)
	if err != nil {
		return nil, err
	}
	root, err := detach(mounts, a)
	if err != nil {
		return nil, fmt.Errorf("root of container %s: %w", id, err)
	}
	return &Tree{Root: root}, nil
}

// Close gives the tree back.
func (t *Tree) Close() error { return t.Root.Close() }

// OpenFile opens a path of the tree with flags of open(2), not leaving it by any link.
func (t *Tree) OpenFile(name string, flags int) (*os.File, error) { return openIn(t.Root, name, flags) }

// ReadFile reads a small file of the tree, not leaving it by any link; at most limit bytes.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	return readIn(t.Root, name, limit)
}

func readIn(root *os.File, name string, limit int64) ([]byte, error) {
	// A FIFO or a terminal of that name must not hold us.
	f, err := openIn(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: fmt.Errorf("not a regular file: %s", info.Mode())}
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &os.PathError{Op: "read", Path: name, Err: unix.EFBIG}
	}
	return b, nil
}

// MkdirAll makes a folder with those above it, owned by root; a folder that is there stays as it is. The tree must be
// writable.
func (t *Tree) MkdirAll(name string, mode uint32) error { return mkdirAll(t.Root, name, mode) }

// Touch makes an empty file with the folders above it, unless there is something of that name.
func (t *Tree) Touch(name string, mode uint32) error { return touch(t.Root, name, mode) }
