package inroot

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds how many symlinks are followed in one path, as the kernel does,
// path_resolution(7).
const maxLinks = 40

// MakeDir makes the directory that a path leads to, with its parents, where it is missing.
// Unlike mkdir(2) it follows symlinks that dangle: what they point to is made, in the root.
// What is made belongs to the owner of the directory it is in.
func MakeDir(rootFD int, p Path) error { return makePath(rootFD, p, true) }

// MakeFile is MakeDir for an empty file.
func MakeFile(rootFD int, p Path) error { return makePath(rootFD, p, false) }

// maker walks a path one name at a time.
type maker struct {
	rootFD int
	done   string   // what is resolved: no symlinks in it, "" is the root
	rest   []string // names to come
	links  int
}

func makePath(rootFD int, p Path, dir bool) error {
	m := &maker{rootFD: rootFD, rest: names(string(p))}
	for len(m.rest) > 0 {
		if err := m.step(dir); err != nil {
			return fmt.Errorf("make %s: %w", p, err)
		}
	}
	return nil
}

// names splits a path at its slashes.
func names(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// step takes the next name: it exists, is a symlink, or is made.
func (m *maker) step(dir bool) error {
	name := m.rest[0]
	m.rest = m.rest[1:]
	switch name {
	case ".":
		return nil
	case "..":
		m.done = strings.TrimPrefix(path.Dir("/"+m.done), "/")
		return nil
	}
	next := path.Join(m.done, name)
	fd, err := Open(m.rootFD, Path(next), unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		err = m.create(name, dir || len(m.rest) > 0)
		m.done = next
		return err
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return m.follow(fd)
	}
	m.done = next
	return nil
}

// follow puts a symlink's target in front of the names to come.
func (m *maker) follow(fd int) error {
	if m.links++; m.links > maxLinks {
		return unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	if strings.HasPrefix(target, "/") {
		m.done = ""
	}
	m.rest = append(names(target), m.rest...)
	return nil
}

// create makes a name in the directory reached so far.
func (m *maker) create(name string, dir bool) error {
	parent, err := Open(m.rootFD, Path("/"+m.done), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if dir {
		err = unix.Mkdirat(parent, name, 0o755)
	} else {
		err = unix.Mknodat(parent, name, unix.S_IFREG|0o644, 0)
	}
	if err != nil {
		if err == unix.EEXIST { // somebody was faster
			return nil
		}
		return err
	}
	return giveToOwnerOf(parent, name)
}

// giveToOwnerOf makes what was just made in a directory belong to the directory's owner.
func giveToOwnerOf(parent int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return err
	}
	if int(st.Uid) == unix.Geteuid() && int(st.Gid) == unix.Getegid() {
		return nil
	}
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchownat(fd, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH)
}
