package rootfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/idmap"
)

// Attachment is a detached mount and where in a root it belongs.
type Attachment struct {
	Tree        *os.File
	Destination string
	// AsDisk says that its files have the ids of the disk: they are shown as the root's are.
	AsDisk bool
}

// View is a root that work is done in as a process inside would: plain paths, and nothing of the host can be reached.
// It is a thread with its own mounts and that root, which ends with the view; nothing is seen or left elsewhere.
type View struct {
	work chan func()
	// IDs are what the ids of files in it are those of; empty when they are as they are on disk.
	IDs user.IdentityMapping
	// ended is closed when the thread has gone, and its mounts with it.
	ended chan struct{}
}

// Enter makes a view of a tree with other mounts in their places. Both are used up, also when it fails. Places that are
// missing are made, for which the tree must be writable; IsUnplaced tells otherwise.
func Enter(tree *Tree, mounts []Attachment) (*View, error) {
	v := &View{IDs: tree.IDs, work: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(v.ended)
		_ = onThread(func() error {
			err := asRoot(tree, mounts)
			if err == nil {
				err = enter(tree, mounts)
			}
			tree.Root.Close()
			for _, m := range mounts {
				m.Tree.Close()
			}
			ready <- err
			if err != nil {
				return err
			}
			for f := range v.work {
				f()
			}
			return nil
		})
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return v, nil
}

// Run does something inside, and waits for it. What it starts by go is not inside.
func (v *View) Run(f func() error) error {
	done := make(chan error, 1)
	v.work <- func() { done <- f() }
	return <-done
}

// Start does something inside and does not wait. The next one waits for it.
func (v *View) Start(f func()) { v.work <- f }

// Close ends the view when what was started is done.
func (v *View) Close() { close(v.work) }

// CloseAndWait is Close, and waits for what was started.
func (v *View) CloseAndWait() {
	close(v.work)
	<-v.ended
}

// asRoot shows mounts with the root's ids that have those of the disk.
func asRoot(tree *Tree, mounts []Attachment) error {
	for _, m := range mounts {
		if !m.AsDisk || tree.IDs.Empty() {
			continue
		}
		if err := idmap.Apply(m.Tree, tree.IDs); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	return nil
}

// enter changes the calling thread.
func enter(tree *Tree, mounts []Attachment) error {
	if err := ownMounts(); err != nil {
		return err
	}
	// Modes are what an archive or an image says. It is the thread's own since it has mounts of its own.
	unix.Umask(0)
	if err := Attach(tree.Root, scratch); err != nil {
		return err
	}
	byDepth := slices.Clone(mounts)
	slices.SortStableFunc(byDepth, func(a, b Attachment) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	for _, m := range byDepth {
		if err := place(tree.Root, m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	if err := unix.Fchdir(int(tree.Root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	// The old root goes below the new one, and away. In an initramfs that cannot be; it stays then, out of reach.
	if err := unix.PivotRoot(".", "."); err == nil {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return os.NewSyscallError("umount", err)
		}
	} else if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// place mounts onto an open file or folder, so that a link that takes its place in this moment leads nowhere.
func place(root *os.File, m Attachment) error {
	target, err := openIn(root, m.Destination, unix.O_PATH)
	if isNotExist(err) {
		if err = makePlace(root, m); err == nil {
			target, err = openIn(root, m.Destination, unix.O_PATH)
		}
	}
	if err != nil {
		return err
	}
	defer target.Close()
	err = unix.MoveMount(int(m.Tree.Fd()), "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

// errUnplaced says that a mount has no place in a tree that cannot be written.
var errUnplaced = errors.New("no place for a mount in a read-only root")

// IsUnplaced says that Enter failed for want of a place that a writable tree would have got.
func IsUnplaced(err error) bool { return errors.Is(err, errUnplaced) }

func makePlace(root *os.File, m Attachment) error {
	info, err := m.Tree.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = mkdirAll(root, m.Destination, 0o755)
	} else {
		err = touch(root, m.Destination, 0o755)
	}
	if errors.Is(err, unix.EROFS) {
		return errors.Join(errUnplaced, err)
	}
	return err
}
