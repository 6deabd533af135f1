package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// plugin is the folder that containerd's task plugin has in both directories.
const plugin = "io.containerd.runtime.v2.task"

// Names in a bundle.
const (
	configName = "config.json"
	rootfsName = "rootfs"
	workName   = "work"
)

// Modes of directories, as containerd's: whoever has a path may pass through, and a bundle is its owner's alone.
const (
	passable = 0o711
	private  = 0o700
)

// Store is where the bundles of a manager are.
type Store struct{ State, Root string }

// Bundle is the directory of one task.
type Bundle struct {
	Namespace, ID string
	Path, Work    string // absolute
}

// Get is the bundle of a task, whether it exists or not.
func (s Store) Get(namespace, id string) *Bundle {
	return &Bundle{
		Namespace: namespace, ID: id,
		Path: filepath.Join(s.state(), namespace, id),
		Work: filepath.Join(s.root(), namespace, id),
	}
}

// Identity tells the bundle from others that had its name before, or will have it; "" where there is none. A file system
// that does not know when a directory was made, as tmpfs of old kernels, gives no inode number twice.
func (b *Bundle) Identity() string {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, b.Path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%x-%x.%x", st.Ino, st.Btime.Sec, st.Btime.Nsec)
}

func (s Store) state() string { return filepath.Join(s.State, plugin) }
func (s Store) root() string  { return filepath.Join(s.Root, plugin) }

// Create makes a bundle with the spec as its config.json; owners of a user namespace in it can enter it. Without a spec,
// for a sandbox, there is no such file. A failed Create leaves nothing. Errors: errdefs.ErrAlreadyExists,
// ErrInvalidArgument.
func (s Store) Create(_ context.Context, namespace, id string, spec []byte) (*Bundle, error) {
	if err := validate(namespace, id); err != nil {
		return nil, err
	}
	b := s.Get(namespace, id)
	dir := filepath.Dir(b.Path)
	for _, d := range []string{dir, filepath.Dir(b.Work)} {
		if err := os.MkdirAll(d, passable); err != nil {
			return nil, err
		}
	}
	// It is whole before it has its name, so nobody who kills this process leaves a half of it under that name.
	unfinished, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return nil, err
	}
	if err := b.fill(unfinished, spec); err != nil {
		return nil, errors.Join(err, os.RemoveAll(unfinished))
	}
	if err := unix.Renameat2(unix.AT_FDCWD, unfinished, unix.AT_FDCWD, b.Path, unix.RENAME_NOREPLACE); err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("task %q: its bundle: %w", id, errdefs.ErrAlreadyExists)
		} else {
			err = &os.LinkError{Op: "rename", Old: unfinished, New: b.Path, Err: err}
		}
		return nil, errors.Join(err, os.RemoveAll(unfinished))
	}
	// From here on the name is this task's, and with it the work directory, which is on disk and may be an earlier one's.
	if err := b.makeWork(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.Path))
	}
	return b, nil
}

func validate(namespace, id string) error {
	if err := identifiers.Validate(namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if err := identifiers.Validate(id); err != nil {
		return fmt.Errorf("task id: %w", err)
	}
	return nil
}

// fill makes what is in the bundle.
func (b *Bundle) fill(dir string, spec []byte) error {
	group, err := rootGroup(spec)
	if err != nil {
		return err
	}
	if err := enterable(dir, group); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, rootfsName), passable); err != nil {
		return err
	}
	if err := os.Symlink(b.Work, filepath.Join(dir, workName)); err != nil {
		return err
	}
	if spec == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, configName), spec, 0o644)
}

func (b *Bundle) makeWork() error {
	err := os.Mkdir(b.Work, passable)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.RemoveAll(b.Work); err != nil {
		return err
	}
	return os.Mkdir(b.Work, passable)
}
