package inroot

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// How openat2(2) resolves inside a root.
const (
	// Resolve treats the directory as the root of the file system: absolute links and ".."
	// stay inside. Magic links, as below /proc/PID/fd, would lead out and are refused (ELOOP).
	Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	// ResolveNoLinks also refuses all other links (ELOOP).
	ResolveNoLinks = Resolve | unix.RESOLVE_NO_SYMLINKS
)

// maxTries bounds the repetitions of an openat2 that met a concurrent rename (EAGAIN).
const maxTries = 64

// ErrNotRegular tells that a path is of a directory, a device, a FIFO or a socket.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a path inside the root, following links there. Flags are those of open(2);
// O_CLOEXEC is added, O_CREAT is refused. The error names the path and unwraps to the errno.
func Open(rootFD int, p Path, flags int) (fd int, err error) {
	return openWith(rootFD, p, flags, Resolve)
}

// OpenNoLinks is Open for a path that must hold no link (ELOOP): one that will be used by
// name.
func OpenNoLinks(rootFD int, p Path, flags int) (fd int, err error) {
	return openWith(rootFD, p, flags, ResolveNoLinks)
}

func openWith(rootFD int, p Path, flags int, resolve uint64) (fd int, err error) {
	if flags&unix.O_CREAT != 0 {
		return -1, fmt.Errorf("open %s to create it: %w", p, unix.EINVAL)
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range maxTries {
		if fd, err = unix.Openat2(rootFD, string(p), &how); err != unix.EAGAIN {
			break
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", p, err)
	}
	return fd, nil
}

// ReadFile returns the content of a regular file of at most limit bytes inside the root
// (EFBIG above that). Anything else is refused (ErrNotRegular) without being opened, since
// the opening of a FIFO waits and that of a device acts. Of a file that pretends to be
// empty, as procfs' do, it returns nothing.
func ReadFile(rootFD int, p Path, limit int64) ([]byte, error) {
	pathFD, err := Open(rootFD, p, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pathFD)
	var st unix.Stat_t
	err = unix.Fstat(pathFD, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = ErrNotRegular
	case st.Size > limit:
		err = unix.EFBIG
	default:
		var text []byte
		if text, err = readOpened(pathFD, st.Size); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("read %s: %w", p, err)
}

// readOpened reads size bytes of the very file that an O_PATH descriptor stands for, or
// fewer if it became shorter.
func readOpened(pathFD int, size int64) ([]byte, error) {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(pathFD), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text := make([]byte, size)
	for done := 0; done < len(text); {
		n, err := unix.Read(fd, text[done:])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return text[:done], nil
		}
		done += n
	}
	return text, nil
}
