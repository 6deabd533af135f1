package logs

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watcher is poked when something in a log's folder changed.
type watcher struct {
	c   chan struct{}
	dir string
	// poll is set when the kernel cannot tell.
	poll *time.Ticker
	stop chan struct{}
}

func (w *watcher) poke() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// inotify is one instance for all who follow: the kernel gives a user few of them. It ends with its last user.
var inotify struct {
	mu   sync.Mutex
	f    *os.File
	dirs map[string]*watchedDir
	byWD map[int32]*watchedDir
}

type watchedDir struct {
	wd       int32
	watchers map[*watcher]struct{}
}

const watched = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// watch begins to watch the folder of a log. What changes from then on is told.
func watch(path string) *watcher {
	w := &watcher{c: make(chan struct{}, 1), dir: filepath.Dir(path)}
	inotify.mu.Lock()
	defer inotify.mu.Unlock()
	if err := w.add(); err != nil {
		slog.Warn("a log is looked at again and again, since inotify does not work", "path", path, "error", err)
		w.startPolling()
	}
	return w
}

// add needs inotify.mu.
func (w *watcher) add() error {
	if inotify.f == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return err
		}
		inotify.f = os.NewFile(uintptr(fd), "inotify")
		inotify.dirs, inotify.byWD = map[string]*watchedDir{}, map[int32]*watchedDir{}
		go readEvents(inotify.f)
	}
	d := inotify.dirs[w.dir]
	if d == nil {
		wd, err := addWatch(w.dir)
		if err != nil {
			closeUnused()
			return err
		}
		d = &watchedDir{wd: wd, watchers: map[*watcher]struct{}{}}
		inotify.dirs[w.dir], inotify.byWD[wd] = d, d
	}
	d.watchers[w] = struct{}{}
	return nil
}

func addWatch(dir string) (int32, error) {
	raw, err := inotify.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var wd int
	var e error
	if err := raw.Control(func(fd uintptr) { wd, e = unix.InotifyAddWatch(int(fd), dir, watched) }); err != nil {
		return 0, err
	}
	return int32(wd), e
}

func (w *watcher) startPolling() {
	w.poll, w.stop = time.NewTicker(200*time.Millisecond), make(chan struct{})
	go func() {
		for {
			select {
			case <-w.poll.C:
				w.poke()
			case <-w.stop:
				return
			}
		}
	}()
}

func (w *watcher) close() {
	if w.poll != nil {
		w.poll.Stop()
		close(w.stop)
		return
	}
	inotify.mu.Lock()
	defer inotify.mu.Unlock()
	d := inotify.dirs[w.dir]
	if d == nil {
		return
	}
	delete(d.watchers, w)
	if len(d.watchers) > 0 {
		return
	}
	delete(inotify.dirs, w.dir)
	delete(inotify.byWD, d.wd)
	if raw, err := inotify.f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(d.wd)) })
	}
	closeUnused()
}

// closeUnused needs inotify.mu.
func closeUnused() {
	if len(inotify.dirs) == 0 && inotify.f != nil {
		inotify.f.Close()
		inotify.f = nil
	}
}

func readEvents(f *os.File) {
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent+int(size):]
			tellWatchers(f, wd, mask&unix.IN_Q_OVERFLOW != 0)
		}
	}
}

func tellWatchers(f *os.File, wd int32, all bool) {
	inotify.mu.Lock()
	defer inotify.mu.Unlock()
	if inotify.f != f {
		return
	}
	for n, d := range inotify.byWD {
		if n != wd && !all {
			continue
		}
		for w := range d.watchers {
			w.poke()
		}
	}
}
