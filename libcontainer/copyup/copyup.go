// Package copyup copies what a directory holds into a new file system that will cover it,
// the mount option tmpcopyup. What it reads is an image's, or shared with a process that
// changes it meanwhile, so nothing is followed and nothing but regular files is opened.
//
// It runs as a process of its own, in the container's user namespace and memory cgroup
// (docs/decisions/0015): bin/runc called by another name.
package copyup

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Name is argv[0] of the process; KeepOwner, as its argument, leaves the owner of the new
// file system's root.
const (
	Name      = "runc-copyup"
	KeepOwner = "keep-owner"
)

// maxDepth bounds how deep a tree may be, for each level holds three descriptors and a
// stack frame. A path through more is longer than PATH_MAX in any tree that people make.
const maxDepth = 256

// Main is the process: stdin is the directory to copy, stdout the root of the new file
// system. It returns the exit status; what went wrong is on stderr.
func Main(args []string) int {
	keepOwner := len(args) > 1 && args[1] == KeepOwner
	if err := Tree(0, 1, keepOwner); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Tree copies the content of one directory into another, and the directory's owner with it.
// Owners, modes, times, symlinks, FIFOs, sockets and device nodes stay what they are; a
// device that may not be made is left out, as is what other mounts show in the directory.
func Tree(from, to int, keepOwner bool) error {
	src, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", ".", err)
	}
	defer unix.Close(src)
	st, err := stat(src)
	if err != nil {
		return failed("stat", ".", err)
	}
	c := &copier{mount: st.Mnt_id}
	if err := c.content(src, to, ".", 0); err != nil {
		return err
	}
	if !keepOwner {
		if err := unix.Fchownat(to, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil && err != unix.EINVAL {
			return failed("chown", ".", err)
		}
	}
	return nil
}

// copier copies within one mount.
type copier struct {
	mount uint64
}

// entry is one name in a directory that is copied.
type entry struct {
	src, dst int // the directories, open
	name     string
	path     string // for errors
	fd       int    // O_PATH
	st       unix.Statx_t
}

func failed(call, path string, err error) error {
	return fmt.Errorf("%s %s: %w", call, strconv.Quote(path), err)
}

// stat tells about an open file. STATX_MNT_ID came with Linux 5.8.
func stat(fd int) (st unix.Statx_t, err error) {
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
	return st, err
}

// content copies all that is in a directory.
func (c *copier) content(src, dst int, path string, depth int) error {
	if depth > maxDepth {
		return failed("copy", path, unix.ENAMETOOLONG)
	}
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(src, buf)
		if err != nil {
			return failed("readdir", path, err)
		}
		if n == 0 {
			return nil
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			e := entry{src: src, dst: dst, name: name, path: path + "/" + name}
			if err := c.copy(&e, depth); err != nil {
				return err
			}
		}
	}
}

// copy copies one name. What vanished since it was listed is no error.
func (c *copier) copy(e *entry, depth int) (err error) {
	e.fd, err = unix.Openat(e.src, e.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return failed("open", e.path, err)
	}
	defer unix.Close(e.fd)
	if e.st, err = stat(e.fd); err != nil {
		return failed("stat", e.path, err)
	}
	elsewhere := e.st.Mnt_id != c.mount
	switch kind := e.st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		return c.directory(e, depth, elsewhere)
	case elsewhere:
		return nil
	case kind == unix.S_IFREG:
		return e.file()
	case kind == unix.S_IFLNK:
		return e.symlink()
	default:
		return e.node()
	}
}

// directory copies a directory; of one that another mount covers, only itself.
func (c *copier) directory(e *entry, depth int, empty bool) error {
	if err := unix.Mkdirat(e.dst, e.name, 0o700); err != nil {
		return failed("mkdir", e.path, err)
	}
	dst, err := unix.Openat(e.dst, e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", e.path, err)
	}
	defer unix.Close(dst)
	if empty {
		return e.attributes(-1, dst)
	}
	src, err := unix.Openat(e.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", e.path, err)
	}
	defer unix.Close(src)
	if err := c.content(src, dst, e.path, depth+1); err != nil {
		return err
	}
	return e.attributes(src, dst)
}
