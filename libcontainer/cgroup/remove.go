package cgroup

import (
	"errors"

	"golang.org/x/sys/unix"
)

// removeAttempts bounds the wait for a cgroup to become removable to about 1.2 s:
// the kernel empties it only some time after its last process was reaped.
const removeAttempts = 16

// Remove removes the container's cgroups and those below them, never a parent and
// never the root of a hierarchy. Every hierarchy is tried; the first error is
// returned. A cgroup that is gone already is fine.
func (s *Set) Remove() error {
	left := make([]*group, 0, len(s.groups))
	for i := range s.groups {
		left = append(left, &s.groups[i])
	}
	for attempt := 0; ; attempt++ {
		var first error
		busy := left[:0]
		for _, g := range left {
			if err := removeTree(g.dir); err != nil {
				busy = append(busy, g)
				if first == nil {
					first = err
				}
			}
		}
		left = busy
		if len(left) == 0 || attempt == removeAttempts || !errors.Is(first, unix.EBUSY) {
			return first
		}
		backoff(attempt)
	}
}

// removeTree removes a cgroup, after the cgroups below it when there are any.
func removeTree(dir string) error {
	err := rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EBUSY && err != unix.ENOTEMPTY {
		// A read-only cgroupfs says EROFS for what isn't there, too.
		if _, missing := readFile(dir, "cgroup.procs"); gone(missing) {
			return nil
		}
		return &FileError{Op: "rmdir", Path: dir, Err: err}
	}
	if !belowRoot(dir) {
		return &FileError{Op: "rmdir", Path: dir, Err: unix.EPERM}
	}
	children, err := subdirs(dir)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	for _, child := range children {
		if err := removeTree(child); err != nil {
			return err
		}
	}
	if err := rmdir(dir); err != nil && err != unix.ENOENT {
		return &FileError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func rmdir(dir string) error {
	for {
		err := unix.Rmdir(dir)
		if err != unix.EINTR {
			return err
		}
	}
}

// belowRoot reports whether dir is a cgroup other than the root of its hierarchy.
// It guards the cgroups of the host against a damaged state file.
func belowRoot(dir string) bool {
	var own, parent unix.Stat_t
	if unix.Lstat(dir, &own) != nil || unix.Lstat(parentOf(dir), &parent) != nil {
		return false
	}
	return isCgroup(dir) && own.Dev == parent.Dev
}
