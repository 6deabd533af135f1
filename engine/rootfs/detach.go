package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// access says what a mount is for.
type access bool

const (
	readonly access = false
	writable access = true
)

// detach makes what a snapshotter would mount, without mounting it anywhere.
func detach(mounts []mount.Mount, a access) (*os.File, error) {
	if len(mounts) == 1 {
		m := mounts[0]
		switch m.Type {
		case "bind", "rbind":
			root, err := Clone(m.Source, slices.Contains(m.Options, "rbind"))
			return limited(root, err, a == readonly || slices.Contains(m.Options, "ro"))
		case "overlay":
			o := parseOverlay(m.Options)
			if a == readonly {
				o = o.readonly()
			}
			if root, err := o.detach(); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
				return limited(root, err, o.upper == "")
			}
			m.Options = o.options()
			mounts = []mount.Mount{m}
		}
	}
	root, err := detachElsewhere(mounts)
	return limited(root, err, a == readonly)
}

func limited(root *os.File, err error, ro bool) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	set := uint64(0)
	if ro {
		set = unix.MOUNT_ATTR_RDONLY
	}
	if err := setattr(root, set); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// guarded are the attributes of a mount that we look at ourselves: no device of an image is opened by us.
const guarded = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC

// setattr sets attributes of a detached mount and those below it, and makes them private: what is mounted on them shows
// nowhere else.
func setattr(tree *os.File, set uint64) error {
	attr := unix.MountAttr{Attr_set: set, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return nil
}

// Clone makes a detached bind mount of a path of the host.
func Clone(source string, recursive bool) (*os.File, error) {
	return clone(unix.AT_FDCWD, source, recursive)
}

// CloneFile makes a detached bind mount of an open file or folder.
func CloneFile(f *os.File, recursive bool) (*os.File, error) {
	return clone(int(f.Fd()), "", recursive)
}

func clone(at int, source string, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if source == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(at, source, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: source, Err: err}
	}
	return limited(os.NewFile(uintptr(fd), source), nil, false)
}

// Attach shows a detached mount at a path of the host.
func Attach(tree *os.File, target string) error {
	err := unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: target, Err: err}
	}
	return nil
}

// Protect makes a detached mount and those below it read-only.
func Protect(tree *os.File) error { return setattr(tree, unix.MOUNT_ATTR_RDONLY) }

// overlay is what an overlay mount is made of.
type overlay struct {
	upper, work string
	lower       []string
	// flags are options without a path: index=off, userxattr.
	flags []string
}

func parseOverlay(options []string) (o overlay) {
	for _, opt := range options {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "upperdir":
			o.upper = value
		case "workdir":
			o.work = value
		case "lowerdir":
			o.lower = strings.Split(value, ":")
		case "ro", "rw":
		default:
			o.flags = append(o.flags, opt)
		}
	}
	return o
}

// readonly is the same tree with the upper folder as one more layer below: it needs no work folder, so it does not get
// into the way of a mount that is written.
func (o overlay) readonly() overlay {
	if o.upper == "" {
		return o
	}
	flags := slices.DeleteFunc(slices.Clone(o.flags), func(f string) bool { return f == "volatile" })
	return overlay{lower: append([]string{o.upper}, o.lower...), flags: flags}
}

func (o overlay) options() []string {
	opts := append([]string{"lowerdir=" + strings.Join(o.lower, ":")}, o.flags...)
	if o.upper == "" {
		return append(opts, "ro")
	}
	return append(opts, "upperdir="+o.upper, "workdir="+o.work)
}

// detach makes the mount with fsopen. It answers EINVAL on kernels before 6.7, which cannot take one layer at a time.
func (o overlay) detach() (*os.File, error) {
	if len(o.lower) == 1 && o.upper == "" {
		return Clone(o.lower[0], false) // An overlay of one is refused.
	}
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	set := func(key, value string) {
		if err == nil && value != "" {
			err = unix.FsconfigSetString(fd, key, value)
		}
	}
	for _, l := range o.lower {
		set("lowerdir+", l)
	}
	set("upperdir", o.upper)
	set("workdir", o.work)
	for _, f := range o.flags {
		key, value, hasValue := strings.Cut(f, "=")
		if !hasValue && err == nil {
			err = unix.FsconfigSetFlag(fd, key)
		}
		set(key, value)
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("overlay of %d layers: %w", len(o.lower), os.NewSyscallError("fsconfig", err))
	}
	root, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(root), "overlay"), nil
}

// detachElsewhere mounts with mount(2) in a namespace that ends with its thread, and takes the mount out of it.
func detachElsewhere(mounts []mount.Mount) (tree *os.File, err error) {
	err = onThread(func() error {
		if err := ownMounts(); err != nil {
			return err
		}
		for _, m := range mounts {
			if err := mountHere(m, scratch); err != nil {
				return err
			}
		}
		tree, err = Clone(scratch, true)
		return err
	})
	return tree, err
}

// scratch is a folder that is everywhere; it is mounted over where only one thread sees it.
const scratch = "/proc"

// mountHere is mount(2) in the calling thread's namespace. The kernel takes no more than a page of options: with many
// layers they are told relative to the folder that all are in.
func mountHere(m mount.Mount, target string) error {
	if m.Type == "overlay" {
		o := parseOverlay(m.Options)
		base := commonDir(o.lower)
		if base != "" {
			if err := unix.Chdir(base); err != nil {
				return &os.PathError{Op: "chdir", Path: base, Err: err}
			}
			for i, l := range o.lower {
				o.lower[i] = strings.TrimPrefix(l, base+"/")
			}
			m.Options = o.options()
		}
	}
	return m.Mount(target)
}

// commonDir is the folder that several paths have in common; empty when that is none or the root.
func commonDir(paths []string) string {
	if len(paths) < 2 {
		return ""
	}
	base := path.Dir(paths[0])
	for _, p := range paths[1:] {
		for base != "/" && base != "." && !strings.HasPrefix(p, base+"/") {
			base = path.Dir(base)
		}
	}
	if base == "/" || base == "." {
		return ""
	}
	return base
}
