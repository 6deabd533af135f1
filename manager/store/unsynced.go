package store

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The file system is synced so long after the last commit of a snapshot, not while an image is being pulled, which would
// make it slow; but if commits go on and on, so long after the first.
const (
	syncDelay = time.Second
	syncLimit = 30 * time.Second
)

// bootID is a file with a text that is another after each start of the machine.
var bootID = "/proc/sys/kernel/random/boot_id"

// unsynced remembers since when committed snapshots may not have reached the disk. Their records are synced, their files
// are not: after a loss of power, a layer may be there with empty files, and nobody would know. With this mark, layers in
// doubt are forgotten, and unpacked again. It costs one sync for a whole pull.
type unsynced struct {
	path string // of the mark: the boot's id and a time
	dir  string // in the file system that is synced
	boot string

	mu      sync.Mutex
	since   time.Time // zero: all is on the disk, and there is no mark
	commits int       // since then
	timer   *time.Timer
}

// openUnsynced reads the mark in the snapshotter's root. What was committed since the time that it answers is in doubt;
// zero: nothing is.
func openUnsynced(root string) (u *unsynced, doubt time.Time, err error) {
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return nil, time.Time{}, err
	}
	u = &unsynced{path: filepath.Join(root, "unsynced"), dir: root, boot: strings.TrimSpace(string(boot))}
	data, err := os.ReadFile(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return u, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	markBoot, text, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return u, time.Time{}, nil //nolint:nilerr // half a mark, whose commit had not begun
	}
	if markBoot != u.boot {
		return u, since, nil
	}
	u.since = since
	u.later()
	return u, time.Time{}, nil
}

// note says that a snapshot is about to be committed.
func (u *unsynced) note() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since.IsZero() {
		if err := u.mark(time.Now()); err != nil {
			return err
		}
	}
	u.commits++
	if time.Since(u.since) < syncLimit {
		u.later()
	}
	return nil
}

// mark writes the mark, and waits for the disk.
func (u *unsynced) mark(since time.Time) error {
	f, err := os.OpenFile(u.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(u.boot + " " + since.UTC().Format(time.RFC3339Nano) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(u.path))); err != nil {
		os.Remove(u.path)
		return err
	}
	u.since, u.commits = since, 0
	return nil
}

// later syncs some time after the last call. The caller has the lock, or is alone.
func (u *unsynced) later() {
	if u.timer != nil {
		u.timer.Reset(syncDelay)
		return
	}
	u.timer = time.AfterFunc(syncDelay, func() {
		if err := u.sync(); err != nil {
			slog.Warn("layers could not be synced", "directory", u.dir, "error", err)
			u.mu.Lock()
			u.timer.Reset(syncLimit)
			u.mu.Unlock()
		}
	})
}

// sync waits for the disk, and removes the mark; or makes it later, if something was committed meanwhile.
func (u *unsynced) sync() error {
	u.mu.Lock()
	since, commits := u.since, u.commits
	u.mu.Unlock()
	if since.IsZero() {
		return nil
	}
	begun := time.Now()
	d, err := os.Open(u.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.commits != commits {
		u.later()
		return u.mark(begun)
	}
	return u.remove()
}

// forget removes the mark after what was in doubt has been dealt with.
func (u *unsynced) forget() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.remove()
}

func (u *unsynced) remove() error {
	u.since, u.commits = time.Time{}, 0
	if err := os.Remove(u.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// close syncs what is not on the disk.
func (u *unsynced) close() error {
	if u.timer != nil {
		u.timer.Stop()
	}
	return u.sync()
}
