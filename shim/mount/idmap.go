package mount

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountMappedOverlay mounts an overlay whose lower layers are seen through a map of their owners. What is mapped is
// a clone of the directory above all of them. For the time of the mounting it hangs at the very place, since
// overlayfs takes no layer of a detached mount before Linux 6.15, and since whoever cleans up after a crash looks there.
func mountMappedOverlay(source string, at place, o *options) error {
	i, layers := lowers(o.data)
	dir := commonDir(layers)
	if dir == "" {
		return errors.New("options: uidmap needs a directory above all of lowerdir's")
	}
	tree, err := mappedTree(unescaped(dir), o, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return fmt.Errorf("map the owners of %s: %w", dir, err)
	}
	defer unix.Close(tree)
	if err := at.attach(tree); err != nil {
		return err
	}
	data := slices.Clone(o.data)
	data[i] = below(layers, dir, fdName(tree)+"/")
	if err := mountFS(source, "overlay", at, o.withData(data)); err != nil {
		at.pop()
		return needs(err, "id-mapped lower layers", "5.19")
	}
	// The overlay stands on the clone, and would go with it.
	overlay, err := at.clone()
	at.pop()
	at.pop()
	if err != nil {
		return err
	}
	defer unix.Close(overlay)
	return at.attach(overlay)
}

// mapTop puts a clone of the topmost mount with mapped owners into its place. On an error that mount is gone, too.
func mapTop(at place, o *options) error {
	tree := -1
	err := at.with(func(name string) (err error) {
		tree, err = mappedTree(name, o, 0)
		return err
	})
	at.pop()
	if err != nil {
		return fmt.Errorf("map the owners: %w", err)
	}
	defer unix.Close(tree)
	return at.attach(tree)
}

// mappedTree is a detached clone of a directory's mount, with mapped owners and attributes.
func mappedTree(dir string, o *options, attrs uint64) (fd int, err error) {
	userns, err := userNamespace(o.uidmap, o.gidmap)
	if err != nil {
		return -1, err
	}
	defer unix.Close(userns)
	tree, err := cloneTree(dir)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | attrs, Propagation: unix.MS_PRIVATE, Userns_fd: uint64(userns)}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(tree)
		return -1, needs(err, "id-mapped mounts", "5.12, and a file system that can")
	}
	return tree, nil
}

// cloneTree is a detached clone of what is seen at a path.
func cloneTree(name string) (fd int, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("clone the mount: %w", err)
	}
	return fd, nil
}

// needs adds to an errno that an older kernel answers with what is needed.
func needs(err error, what, kernel string) error {
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (%s need Linux %s)", err, what, kernel)
	}
	return err
}

// userNamespace is a descriptor of a user namespace with these maps. Only a process can make one: it is a child that
// is stopped at its execve(2), before it runs anything, and killed.
func userNamespace(uidmap, gidmap string) (fd int, err error) {
	uids, err := parseMap(uidmap)
	if err != nil {
		return -1, fmt.Errorf("options: uidmap: %w", err)
	}
	gids, err := parseMap(gidmap)
	if err != nil {
		return -1, fmt.Errorf("options: gidmap: %w", err)
	}
	pidfd := -1
	child, err := os.StartProcess("/proc/self/exe", []string{"user-namespace"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids,
		Ptrace: true, Pdeathsig: unix.SIGKILL, PidFD: &pidfd,
	}})
	if err != nil {
		return -1, fmt.Errorf("make a user namespace for uidmap=%s, gidmap=%s: %w", uidmap, gidmap, err)
	}
	defer func() { _ = child.Release() }()
	defer unix.Close(pidfd)
	fd, err = unix.Open("/proc/"+strconv.Itoa(child.Pid)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = fmt.Errorf("open the user namespace: %w", err)
	}
	end(pidfd)
	return fd, err
}

// end kills a traced child and waits for its end. The first that waitid(2) tells of can be its stop.
func end(pidfd int) {
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED, nil)
		if err == nil && info.Code == cldTrapped || err == unix.EINTR {
			continue
		}
		return
	}
}

// cldTrapped is waitid(2)'s code for a traced child that has stopped.
const cldTrapped = 4

// parseMap reads container:host:size, and more of them after commas.
func parseMap(text string) ([]syscall.SysProcIDMap, error) {
	var list []syscall.SysProcIDMap
	for entry := range strings.SplitSeq(text, ",") {
		var n [3]int
		fields := strings.Split(entry, ":")
		if len(fields) != len(n) {
			return nil, fmt.Errorf("%q is not container:host:size", entry)
		}
		for i, f := range fields {
			v, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", entry, err)
			}
			n[i] = int(v)
		}
		list = append(list, syscall.SysProcIDMap{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return list, nil
}
