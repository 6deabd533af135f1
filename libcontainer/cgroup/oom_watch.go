package cgroup

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// OOMWatch tells when the container runs out of memory.
type OOMWatch struct {
	fd      int
	control int // v1: memory.oom_control, open as long as the watch lasts
	set     *Set
	unified bool
	count   uint64
}

// WatchOOM begins to watch. Without a memory cgroup it returns nil.
func (s *Set) WatchOOM() (*OOMWatch, error) {
	w := &OOMWatch{fd: -1, control: -1, set: s}
	if g := s.v1("memory"); g != nil {
		return w.begin(w.watchV1(g))
	}
	g := s.v2()
	if g == nil {
		return nil, nil //nolint:nilnil // nothing to watch
	}
	if _, err := readFile(g.dir, "memory.events"); err != nil {
		if gone(err) {
			return nil, nil //nolint:nilnil // v2 without the memory controller
		}
		return nil, err
	}
	w.unified = true
	return w.begin(w.watchV2(g))
}

func (w *OOMWatch) begin(err error) (*OOMWatch, error) {
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// watchV1 has an eventfd counted up, Documentation/admin-guide/cgroup-v1/memory.rst "OOM
// Control".
func (w *OOMWatch) watchV1(g *group) (err error) {
	if w.control, err = open(g.dir+"/memory.oom_control", unix.O_RDONLY); err != nil {
		return err
	}
	if w.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return &FileError{Op: "eventfd for", Path: g.dir, Err: err}
	}
	return writeFile(g.dir, "cgroup.event_control", strconv.Itoa(w.fd)+" "+strconv.Itoa(w.control))
}

// watchV2 watches a file that changes with each event, cgroup-v2.rst "memory.events". Other
// events are in it too, so the count decides.
func (w *OOMWatch) watchV2(g *group) (err error) {
	if w.fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return &FileError{Op: "inotify for", Path: g.dir, Err: err}
	}
	if _, err = unix.InotifyAddWatch(w.fd, g.dir+"/memory.events", unix.IN_MODIFY); err != nil {
		return &FileError{Op: "watch", Path: g.dir + "/memory.events", Err: err}
	}
	w.count, err = w.set.OOMKills()
	return err
}

// FD becomes readable when Happened may have something to tell.
func (w *OOMWatch) FD() int { return w.fd }

// Happened reports whether the container ran out of memory since the last call. It does not
// wait.
func (w *OOMWatch) Happened() bool {
	var buf [4096]byte
	n, err := unix.Read(w.fd, buf[:])
	for err == unix.EINTR {
		n, err = unix.Read(w.fd, buf[:])
	}
	if !w.unified {
		// The removal of the cgroup counts as an event, too.
		return n == 8 && binary.NativeEndian.Uint64(buf[:8]) > 0 && w.set.v1("memory").exists()
	}
	kills, err := w.set.OOMKills()
	before := w.count
	if err == nil && kills > before {
		w.count = kills
	}
	return w.count > before
}

// Close ends the watch.
func (w *OOMWatch) Close() { closeAll([]int{w.fd, w.control}) }

// exists reports whether the cgroup's directory is still there.
func (g *group) exists() bool {
	var st unix.Stat_t
	return unix.Lstat(g.dir, &st) == nil
}
