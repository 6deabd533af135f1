package cgroup

import (
	"errors"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// FileError is a refused operation on one file or directory of a cgroup.
type FileError struct {
	Op    string // "write", "open", "mkdir" …
	Path  string // absolute
	Value string // what was to be written, else empty
	Err   error  // a unix.Errno
}

func (e *FileError) Error() string {
	what := e.Op + " " + e.Path
	if e.Value != "" {
		what = e.Op + " " + e.Value + " to " + e.Path
	}
	if x, known := host.CgroupFile(path.Base(e.Path)); known && e.Err == unix.ENOENT {
		what += ": " + x.Needed()
	}
	return what + ": " + e.Err.Error()
}

// Unwrap gives the errno.
func (e *FileError) Unwrap() error { return e.Err }

// Syscall is the name of the system call that was refused, "" when none was.
func (e *FileError) Syscall() string {
	switch name, _, _ := strings.Cut(e.Op, " "); name {
	case "open", "read", "write", "mkdir", "rmdir", "poll", "bpf":
		return name
	default:
		return ""
	}
}

// open opens a cgroup file. A cgroup file can be busy for the moment a signal of
// the Go scheduler arrives, hence the loop here and in write and read.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, &FileError{Op: "open", Path: path, Err: err}
		}
	}
}

// writeFile writes value to dir/name with one write(2), as cgroupfs wants it.
func writeFile(dir, name, value string) error {
	path := dir + "/" + name
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	err = writeFD(fd, path, value)
	_ = unix.Close(fd) // cgroupfs reports everything at write
	return err
}

// writeFD writes value to the open file fd, whose path is for the error.
func writeFD(fd int, path, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &FileError{Op: "write", Path: path, Value: strings.TrimSpace(value), Err: err}
		}
	}
}

// ReadFile reads a file of a cgroup, without the white space around it. The error is a
// *FileError.
func ReadFile(dir, name string) (string, error) { return readFile(dir, name) }

// readFile reads dir/name without the white space around it.
func readFile(dir, name string) (string, error) {
	path := dir + "/" + name
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	var content []byte
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", &FileError{Op: "read", Path: path, Err: err}
		case n == 0:
			return strings.TrimSpace(string(content)), nil
		default:
			content = append(content, buf[:n]...)
		}
	}
}

// gone reports whether err says that a file or its whole cgroup does not exist:
// reading a file of a cgroup that was removed after the open gives ENODEV.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// denied reports whether err is a lack of rights.
func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}

// wordAfter returns the text after the line's first word when that is key, in a
// file of "key value" lines.
func wordAfter(content, key string) (string, bool) {
	for line := range strings.SplitSeq(content, "\n") {
		if rest, ok := strings.CutPrefix(line, key+" "); ok {
			return rest, true
		}
	}
	return "", false
}

// backoff waits a little longer at each attempt, counted from 0: 1 ms, doubled up
// to 128 ms. The kernel gives no event for what its callers wait for.
func backoff(attempt int) {
	time.Sleep(time.Millisecond << min(attempt, 7))
}
