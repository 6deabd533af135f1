package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// openSources opens the sources of bind mounts as detached copies, with the owners and the
// propagation that they are to have.
func (l *Launch) openSources(op *plan.Op, a *plan.OpenSources) error {
	l.sources, l.links = make(map[int]int), make(map[int]string)
	for i := range a.Sources {
		s := &a.Sources[i]
		if s.Path == "" {
			continue
		}
		fail := func(call string, err error) error {
			return &Error{Field: op.Field + "[" + itoa(i) + "].source", Op: op.Do, Call: call, Errno: err}
		}
		isLink, err := l.readLink(i, s)
		if err != nil {
			return fail("readlink "+s.Path, err)
		}
		if isLink || s.LinkOnly {
			continue
		}
		fd, err := openSource(s)
		if err != nil {
			return fail("open_tree "+s.Path, err)
		}
		l.sources[i] = l.keep(fd)
		if a.Propagation != plan.Unchanged {
			attr := &unix.MountAttr{Propagation: propagationBits(a.Propagation)}
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
				return fail("mount_setattr "+s.Path, err)
			}
		}
		if s.IDMap != nil {
			if err := l.mapOwners(fd, s.IDMap); err != nil {
				return fail("mount_setattr "+s.Path, fmt.Errorf("map the owners: %w", err))
			}
		}
	}
	return nil
}

// readLink keeps what a symlink that is to be copied says.
func (l *Launch) readLink(mount int, s *plan.Source) (isLink bool, err error) {
	if !s.Link {
		return false, nil
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(s.Path, buf)
	if errors.Is(err, unix.EINVAL) { // something else
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.links[mount] = string(buf[:n])
	return true, nil
}

func openSource(s *plan.Source) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	if s.NoFollow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return unix.OpenTree(unix.AT_FDCWD, s.Path, flags)
}

// errNoIDMap says what EINVAL of mount_setattr(2) means here: the mapping itself was taken.
var errNoIDMap = errors.New("a file system in it cannot have its owners mapped")

// mapOwners id-maps a detached mount.
func (l *Launch) mapOwners(fd int, m *plan.IDMap) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	key := m.UserNS + "\n" + mapLines(m.UIDs) + "\n" + mapLines(m.GIDs)
	space, ok := l.spaces[key]
	if !ok {
		var err error
		if m.UserNS != "" {
			space, err = openNamespace(plan.Namespace{Type: "user", Path: m.UserNS})
		} else {
			space, err = newUserNamespace(m.UIDs, m.GIDs)
		}
		if err != nil {
			return err
		}
		if l.spaces == nil {
			l.spaces = make(map[string]int)
		}
		l.spaces[key] = l.keep(space)
	}
	err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(space)})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errNoIDMap, err)
	}
	return err
}
