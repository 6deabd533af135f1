package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// joinCgroup moves the daemon into the cgroup of a path below the root of each hierarchy that limits something, and
// makes it there if it is missing. Shims started later are in it, too, unless their options name another.
func joinCgroup(path string) error {
	roots, err := hierarchies()
	if err != nil {
		return fmt.Errorf("cgroup %s: %w", path, err)
	}
	var made []string
	for _, root := range roots {
		dir := filepath.Join(root, filepath.Join("/", path)) // .. does not lead out
		if _, err := os.Stat(dir); err != nil {
			made = append(made, dir)
		}
		if err := join(root, dir); err != nil {
			for _, dir := range made {
				_ = unix.Rmdir(dir) // of those that the daemon is not in
			}
			return fmt.Errorf("cgroup %s: %w", path, err)
		}
	}
	return nil
}

func join(root, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := inheritCPUs(root, dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// inheritCPUs fills in what a cgroup of version 1's cpuset must have before a process may join.
func inheritCPUs(root, dir string) error {
	below, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil // not cpuset
		}
		if err != nil {
			return err
		}
		at := root
		for part := range strings.SplitSeq(below, "/") {
			at = filepath.Join(at, part)
			file := filepath.Join(at, name)
			own, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if own = bytes.TrimSpace(own); len(own) > 0 {
				value = own
				continue
			}
			if err := os.WriteFile(file, bytes.TrimSpace(value), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// hierarchies are the mount points of those of version 1 that have controllers; of version 2's if there are none.
func hierarchies() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var first, second []string
	for line := range strings.Lines(string(text)) {
		// proc(5): ID parent device root MOUNTPOINT options ... - TYPE source SUPEROPTIONS
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		switch {
		case right[0] == "cgroup" && !strings.Contains(right[2], "name="):
			first = append(first, left[4])
		case right[0] == "cgroup2":
			second = append(second, left[4])
		}
	}
	switch {
	case len(first) > 0:
		return first, nil
	case len(second) > 0:
		return second[:1], nil
	}
	return nil, errors.New("there are no cgroups here")
}
