package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bench holds the bundles and the state folders of all sides, on tmpfs.
type bench struct {
	opts   options
	dir    string
	prefix string // of every container id, to find cgroups by
	count  int    // of container ids given out
	meter  *meter
}

func newBench(opts options) (*bench, error) {
	busybox, err := exec.LookPath(opts.busybox)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/dev/shm", "gantry-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{opts: opts, dir: dir, prefix: filepath.Base(dir)}
	if err := b.prepare(busybox); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) prepare(busybox string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	stderr, err := os.OpenFile(filepath.Join(b.dir, "stderr"), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b.meter = &meter{stop: stop, stderr: stderr, null: null}
	for _, s := range append([]side{b.opts.ours}, b.opts.peers...) {
		if err = os.MkdirAll(b.root(s), 0o700); err != nil {
			return err
		}
	}
	rootfs := filepath.Join(b.dir, "rootfs")
	if err = makeRootfs(rootfs, busybox); err != nil {
		return err
	}
	seccomp, err := seccompChange()
	if err != nil {
		return err
	}
	return errors.Join(
		makeBundle(b.bundle("true"), rootfs, []string{"true"}),
		makeBundle(b.bundle("seccomp"), rootfs, []string{"true"}, seccomp),
		makeBundle(b.bundle("sleep"), rootfs, []string{"sleep", "1000"}),
	)
}

func (b *bench) bundle(name string) string { return filepath.Join(b.dir, "bundle-"+name) }

// root is a side's state folder.
func (b *bench) root(s side) string {
	return filepath.Join(b.dir, "root-"+strings.ReplaceAll(strings.TrimPrefix(s.path, "/"), "/", "-"))
}

func (b *bench) newID() string {
	b.count++
	return fmt.Sprintf("%s-%d", b.prefix, b.count)
}

// call runs one runtime command of a side.
func (b *bench) call(s side, args ...string) error {
	return b.meter.run(append([]string{s.path, "--root", b.root(s)}, args...)...)
}

// close deletes every container of every side, then what processes, cgroups and files remain.
func (b *bench) close() error {
	var errs []error
	if b.meter != nil {
		b.meter.stop = nil // a second interrupt doesn't stop the cleaning
		for _, s := range append([]side{b.opts.ours}, b.opts.peers...) {
			entries, _ := os.ReadDir(b.root(s)) // it may not have been made yet
			for _, entry := range entries {
				if strings.HasPrefix(entry.Name(), b.prefix) {
					errs = append(errs, b.call(s, "delete", "--force", entry.Name()))
				}
			}
		}
		b.meter.residents = nil
		b.killAdopted()
		errs = append(errs, b.meter.drain())
	}
	return errors.Join(append(errs, removeCgroups(b.prefix), os.RemoveAll(b.dir))...)
}

// killAdopted kills the processes that runtimes left to this one. What those leave in turn dies with their container.
func (b *bench) killAdopted() {
	for _, pid := range children() {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended this moment
	}
}

// removeCgroups removes cgroups whose name has the prefix: a runtime killed in the middle leaves its own.
func removeCgroups(prefix string) error {
	var dirs []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else's cgroup went away
		}
		if path == unifiedMount {
			return fs.SkipDir // no cgroups here, see run
		}
		if err == nil && entry.IsDir() && strings.Contains(path, prefix) {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs) // children before their parents
	errs := []error{err}
	for _, dir := range dirs {
		errs = append(errs, removeCgroup(dir))
	}
	return errors.Join(errs...)
}

// removeCgroup waits a moment for processes that have just been killed.
func removeCgroup(dir string) error {
	for try := 0; ; try++ {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || try == 50 {
			return fmt.Errorf("rmdir %s: %w", dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
