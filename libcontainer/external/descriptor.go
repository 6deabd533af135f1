package external

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Descriptors returns what CRIU calls the stdin, stdout and stderr of a container that it
// can't restore by itself, and "" for the others: a pipe that leads out of the container,
// by its name in /proc; a file outside of the container's mounts, by mount and inode.
func Descriptors(init int, members []int) ([]string, error) {
	mounts, err := host.MountsOf(init)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 3)
	for fd := range keys {
		path := "/proc/" + strconv.Itoa(init) + "/fd/" + strconv.Itoa(fd)
		link, err := os.Readlink(path)
		if errors.Is(err, unix.ENOENT) {
			continue // closed
		}
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(link, "pipe:"):
			if !isInternal(link, members) {
				keys[fd] = link
			}
		case strings.HasPrefix(link, "/"):
			if keys[fd], err = fileKey(init, fd, path, mounts); err != nil {
				return nil, err
			}
		}
	}
	return keys, nil
}

// isInternal reports whether the container has both ends of a pipe: then it made the pipe.
func isInternal(pipe string, members []int) bool {
	var reads, writes bool
	for _, pid := range members {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, e := range entries {
			path := dir + "/" + e.Name()
			if link, err := os.Readlink(path); err != nil || link != pipe {
				continue
			}
			// The permissions of the link are those of the descriptor, proc_pid_fd(5).
			var st unix.Stat_t
			if unix.Lstat(path, &st) == nil {
				reads, writes = reads || st.Mode&0o400 != 0, writes || st.Mode&0o200 != 0
			}
		}
	}
	return reads && writes
}

// fileKey is "" for a file on one of the container's mounts, and for a terminal, which
// CRIU finds by other means.
func fileKey(pid, fd int, path string, mounts []host.Mount) (string, error) {
	info, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	_, rest, _ := bytes.Cut(info, []byte("mnt_id:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	id := strings.TrimSpace(string(line))
	for i := range mounts {
		if mounts[i].ID == id {
			return "", nil
		}
	}
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return "", fmt.Errorf("descriptor %d: mount id: %w", fd, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) != 1 { // 1 is memory devices, /dev/null among them
		return "", nil
	}
	return fmt.Sprintf("file[%x:%x]", number, st.Ino), nil
}

// IsFile reports whether a key is that of a file, which CRIU must be told of when it dumps.
func IsFile(key string) bool { return strings.HasPrefix(key, "file[") }

// IsPipe reports whether a key is that of a pipe.
func IsPipe(key string) bool { return strings.HasPrefix(key, "pipe:") }
