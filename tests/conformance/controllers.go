package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountControllers mounts idle cgroup v1 controllers, each on a new folder under /sys/fs/cgroup, in this mount
// namespace. A controller is idle when it belongs to no v1 hierarchy. The returned function, never nil, undoes it.
func mountControllers(names []string) (func(), error) {
	var mounted []string
	undo := func() {
		for _, name := range mounted {
			if err := unmountController(name); err != nil {
				fmt.Fprintln(os.Stderr, "conformance:", err)
			}
		}
	}
	for _, name := range names {
		idle, err := controllerIdle(name)
		if err != nil {
			return undo, err
		}
		if !idle {
			return undo, fmt.Errorf("cgroup controller %s belongs to a hierarchy already", name)
		}
		path := filepath.Join(cgroupRoot, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return undo, err
		}
		mounted = append(mounted, name)
		if err := unix.Mount("cgroup", path, "cgroup", 0, name); err != nil {
			return undo, fmt.Errorf("mount cgroup controller %s: %w", name, err)
		}
	}
	return undo, nil
}

// unmountController unmounts a controller and waits until its hierarchy is gone. Cgroups removed a moment ago can keep
// a hierarchy alive past its last mount; then one more mount and unmount ends it.
func unmountController(name string) error {
	path := filepath.Join(cgroupRoot, name)
	for range 5 {
		if err := unix.Unmount(path, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: isn't mounted
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		for range 20 {
			idle, err := controllerIdle(name)
			if err != nil {
				return err
			}
			if idle {
				return os.Remove(path)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err := unix.Mount("cgroup", path, "cgroup", 0, name); err != nil {
			return fmt.Errorf("mount %s again: %w", path, err)
		}
	}
	err := unix.Unmount(path, 0)
	return errors.Join(fmt.Errorf("cgroup controller %s stays in its hierarchy: mount and unmount it once more", name), err)
}

// controllerIdle reports whether /proc/cgroups lists the controller under hierarchy 0 (man 7 cgroups).
func controllerIdle(name string) (bool, error) {
	f, err := os.Open("/proc/cgroups")
	if err != nil {
		return false, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 4 && fields[0] == name {
			return fields[1] == "0", nil
		}
	}
	return false, errors.Join(scanner.Err(), fmt.Errorf("the kernel has no cgroup v1 controller %s", name))
}
