package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// writePidfile tells this process's id, unless the file has that of another one that lives. remove takes it away.
func writePidfile(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	old, _ := strconv.Atoi(string(bytes.TrimSpace(b)))
	if old > 0 && old != os.Getpid() && isEngine(old) {
		return nil, fmt.Errorf("failed to start daemon, ensure docker is not running or delete %s: process with PID %d is still running", path, old)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil { //nolint:gosec // everybody may know
		return nil, err
	}
	return func() { _ = os.Remove(path) }, nil
}

// isEngine says whether a number in a pidfile is an engine's still. Of an engine that was killed it may be a zombie's,
// a thread's, or another program's by now. A dockerd that is not ours counts as well.
func isEngine(pid int) bool {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	// The name is in parentheses and may have some itself; the state follows it.
	end := bytes.LastIndexByte(status, ')')
	if fields := bytes.Fields(status[end+1:]); len(fields) == 0 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return false
	}
	// A thread's number has a folder in /proc, too, which is the whole process's.
	if task, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status")); err != nil || !bytes.Contains(task, []byte("\nTgid:\t"+strconv.Itoa(pid)+"\n")) {
		return false
	}
	args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	program, rest, _ := bytes.Cut(args, []byte{0})
	first, _, _ := bytes.Cut(rest, []byte{0})
	if string(first) == keeper.Argument || string(first) == netkeeper.Argument {
		return false
	}
	name := filepath.Base(string(program))
	return name == filepath.Base(os.Args[0]) || name == "dockerd" || name == "gantry-engine"
}

// lockRoot makes this process the only engine of a data-root. The lock goes with the process.
func lockRoot(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, "engine.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another engine works with this data-root: %w", root, err)
	}
	return f, nil
}

// foreign says no to the data of a real dockerd: what it keeps would be taken for leftovers.
func foreign(root string) error {
	found, err := filepath.Glob(filepath.Join(root, "containers", "*", "config.v2.json"))
	if err == nil && len(found) > 0 {
		return fmt.Errorf("%s has the containers of another engine: give this one a --data-root of its own", root)
	}
	return err
}
