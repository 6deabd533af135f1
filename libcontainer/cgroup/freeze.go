package cgroup

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	v1State = "freezer.state"
	v2State = "cgroup.freeze"
)

// ErrNoFreezer says that the container has no cgroup that could freeze it.
var ErrNoFreezer = errors.New("cannot toggle freezer: cgroups not configured for container")

// ErrNotFrozen says that the kernel did not bring all processes to a stop in time.
// The container runs on.
var ErrNotFrozen = errors.New("unable to freeze")

// freezer returns the group that freezes the container: the v1 controller where
// there is one, since clients look there, else cgroup v2.
func (s *Set) freezer() *group {
	if g := s.v1("freezer"); g != nil {
		return g
	}
	return s.v2()
}

// FreezerDir is the cgroup that freezes the container, absolute; "" when there is none.
func (s *Set) FreezerDir() string {
	if g := s.freezer(); g != nil {
		return g.dir
	}
	return ""
}

// Freeze stops every process of the container and returns when all stand still.
// ErrNotFrozen when they don't.
func (s *Set) Freeze() error {
	g := s.freezer()
	if g == nil {
		return ErrNoFreezer
	}
	var err error
	if g.hierarchy == "" {
		err = freezeV2(g.dir)
	} else {
		err = freezeV1(g.dir)
	}
	if err != nil {
		// Half frozen is worse than running.
		_ = g.thaw()
	}
	return err
}

// Thaw lets the container run again.
func (s *Set) Thaw() error {
	g := s.freezer()
	if g == nil {
		return ErrNoFreezer
	}
	return g.thaw()
}

// State reports whether the container itself is frozen, not only a cgroup above
// it. A container without a freezer, or without cgroups any more, is not.
func (s *Set) State() (frozen bool, err error) {
	g := s.freezer()
	if g == nil {
		return false, nil
	}
	return g.frozen()
}

func (g *group) thaw() error {
	if g.hierarchy == "" {
		return writeFile(g.dir, v2State, "0")
	}
	return writeFile(g.dir, v1State, "THAWED")
}

// frozen reads the freezer of the group; one in another hierarchy is never frozen.
func (g *group) frozen() (bool, error) {
	var state string
	var err error
	switch {
	case g.hierarchy == "":
		state, err = readFile(g.dir, v2State)
	case g.controls("freezer"):
		state, err = settledV1(g.dir)
	}
	if err != nil {
		if gone(err) {
			return false, nil
		}
		return false, err
	}
	if state != "FROZEN" {
		return state == "1", nil
	}
	own, err := readFile(g.dir, "freezer.self_freezing")
	if err != nil && !gone(err) {
		return false, err
	}
	return own != "0", nil
}

// settledV1 reads freezer.state once it is no longer FREEZING.
func settledV1(dir string) (string, error) {
	for attempt := 0; ; attempt++ {
		state, err := readFile(dir, v1State)
		if err != nil || state != "FREEZING" || attempt == 10 {
			return state, err
		}
		backoff(attempt)
	}
}

// freezeV1 repeats the request until all processes stopped. The v1 freezer misses
// processes that appear while it walks the list (a fork, a join) and then stays
// FREEZING, so asking again is part of its use; a short thaw lets such a process
// finish what it is in. Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst.
func freezeV1(dir string) error {
	for round := range 20 {
		for range 40 {
			if err := writeFile(dir, v1State, "FROZEN"); err != nil {
				return err
			}
			state, err := readFile(dir, v1State)
			if err != nil {
				return err
			}
			if state == "FROZEN" {
				return nil
			}
			time.Sleep(20 * time.Microsecond)
		}
		if err := writeFile(dir, v1State, "THAWED"); err != nil {
			return err
		}
		backoff(round)
	}
	return ErrNotFrozen
}

// freezeV2 asks for the freeze and waits for cgroup.events to confirm it; the file
// signals each change as POLLPRI, cgroup-v2.rst "Core Interface Files".
func freezeV2(dir string) error {
	if err := writeFile(dir, v2State, "1"); err != nil {
		return err
	}
	fd, err := open(dir+"/cgroup.events", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		var buf [256]byte
		n, err := unix.Pread(fd, buf[:], 0)
		if err != nil && err != unix.EINTR {
			return &FileError{Op: "read", Path: dir + "/cgroup.events", Err: err}
		}
		if value, _ := wordAfter(string(buf[:max(n, 0)]), "frozen"); value == "1" {
			return nil
		}
		poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll[:], 100); err != nil && err != unix.EINTR {
			return &FileError{Op: "poll", Path: dir + "/cgroup.events", Err: err}
		}
	}
	return ErrNotFrozen
}
