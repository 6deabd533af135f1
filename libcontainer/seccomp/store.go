package seccomp

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A cache grows to maxEntries files, and is then cut down to keepEntries.
const (
	maxEntries  = 256
	keepEntries = 192
)

// storeCount keeps the temporary names of one process apart.
var storeCount atomic.Uint32

// store puts an entry into the cache, in place of whatever has its name. The
// filter is already made, so no failure matters; none leaves a file behind.
func store(dir, id string, raw, frame []byte) {
	// The parent is also the home of sockets that others may reach.
	_ = unix.Mkdir(filepath.Dir(dir), 0o711)
	_ = unix.Mkdir(dir, 0o700)
	dirFD := openDir(dir)
	if dirFD < 0 {
		return
	}
	defer unix.Close(dirFD)
	temp := ".new-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) +
		"-" + strconv.Itoa(int(storeCount.Add(1)))
	if !writeFile(dirFD, temp, formatEntry(id, raw, frame)) {
		return
	}
	if unix.Renameat(dirFD, temp, dirFD, entryName(raw)) != nil {
		_ = unix.Unlinkat(dirFD, temp, 0)
		return
	}
	prune(dir, dirFD)
}

func writeFile(dirFD int, name string, b []byte) bool {
	fd, err := unix.Openat(dirFD, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	ok := writeFull(fd, b) == nil
	if unix.Close(fd) != nil || !ok {
		_ = unix.Unlinkat(dirFD, name, 0)
		return false
	}
	return true
}

func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// prune removes the oldest files of a cache that has grown too large, among
// them what a killed process left half written.
func prune(dir string, dirFD int) {
	files, err := os.ReadDir(dir)
	if err != nil || len(files) <= maxEntries {
		return
	}
	type aged struct {
		name string
		time int64
	}
	var all []aged
	for _, file := range files {
		if info, err := file.Info(); err == nil {
			all = append(all, aged{file.Name(), info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Compare(a.time, b.time) })
	for _, file := range all[:max(0, len(all)-keepEntries)] {
		_ = unix.Unlinkat(dirFD, file.name, 0)
	}
}
