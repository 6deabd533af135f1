package rootfs

import (
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// openIn opens a path as somebody would whose root is the folder: no link and no ".." leads out of it, and magic links
// of a proc file system are not followed, whoever changes the tree meanwhile.
func openIn(root *os.File, name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC), //nolint:gosec // Open flags are not negative.
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(root.Fd()), path.Join("/", name), &how)
		// EAGAIN: a rename elsewhere made the kernel unsure whether ".." stayed below the root.
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// maxLinks is how many links that lead nowhere are gone after in one path.
const maxLinks = 16

// mkdirAll makes a folder and those above it, all inside the root.
func mkdirAll(root *os.File, name string, mode uint32) error {
	return mkdirAllLinks(root, name, mode, maxLinks)
}

func mkdirAllLinks(root *os.File, name string, mode uint32, links int) error {
	name = path.Join("/", name)
	if f, err := openIn(root, name, unix.O_PATH|unix.O_DIRECTORY); err == nil {
		return f.Close()
	} else if !isNotExist(err) {
		return err
	}
	if links == 0 {
		return &os.PathError{Op: "mkdir", Path: name, Err: unix.ELOOP}
	}
	up, base := path.Split(name)
	if err := mkdirAllLinks(root, up, mode, links); err != nil {
		return err
	}
	dir, err := openIn(root, up, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = unix.Mkdirat(int(dir.Fd()), base, mode)
	if err == unix.EEXIST {
		return mkdirBehind(root, dir, name, mode, links)
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

// mkdirBehind makes the folder that a link names and that is not there, as /run behind /var/run.
func mkdirBehind(root, dir *os.File, name string, mode uint32, links int) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), path.Base(name), buf)
	if err == unix.EINVAL {
		return nil // Somebody else made it just now.
	}
	if err != nil {
		return &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	target := string(buf[:n])
	if !strings.HasPrefix(target, "/") {
		target = path.Join(path.Dir(name), target)
	}
	return mkdirAllLinks(root, target, mode, links-1)
}

func isNotExist(err error) bool {
	pe, ok := err.(*os.PathError) //nolint:errorlint // Only openIn's own errors come here.
	return ok && pe.Err == fs.ErrNotExist || ok && pe.Err == unix.ENOENT
}
