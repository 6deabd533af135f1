package cgroup

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// killAttempts bounds the wait for killed processes to vanish to about 1.2 s.
const killAttempts = 16

// SurvivorsError says that processes are still there after SIGKILL, most likely
// blocked inside the kernel.
type SurvivorsError struct {
	Processes int
}

func (e *SurvivorsError) Error() string {
	return strconv.Itoa(e.Processes) + " process(es) of the container did not die of SIGKILL"
}

// Kill sends sig to every process of the container. For SIGKILL it returns when
// none is left, or with a *SurvivorsError; a frozen container is thawed, since
// the v1 freezer holds even SIGKILL back.
func (s *Set) Kill(sig unix.Signal) error {
	g := s.tracking()
	if g == nil {
		return nil
	}
	if sig != unix.SIGKILL {
		return s.signalAll(g, sig)
	}
	if v2 := s.v2(); v2 != nil {
		// Since Linux 5.14. The loop below does the same where the file is missing, and
		// catches whoever is only in the v1 cgroup.
		_ = writeFile(v2.dir, "cgroup.kill", "1")
	}
	for attempt := 0; ; attempt++ {
		pids, err := appendPIDs(nil, g.dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if attempt == killAttempts {
			return &SurvivorsError{Processes: len(pids)}
		}
		if err := s.signalAll(g, sig); err != nil {
			return err
		}
		backoff(attempt)
	}
}

// signalAll freezes the container, so that no process can fork unseen, signals
// each one and lets them run again. A container that can't be frozen is signalled
// all the same.
func (s *Set) signalAll(g *group, sig unix.Signal) error {
	wasFrozen, _ := s.State()
	frozen := wasFrozen || s.Freeze() == nil
	pids, err := appendPIDs(nil, g.dir)
	var first error
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH && first == nil {
			first = err
		}
	}
	if frozen && (!wasFrozen || sig == unix.SIGKILL) {
		if thawErr := s.Thaw(); thawErr != nil && !gone(thawErr) && err == nil {
			err = thawErr
		}
	}
	if err != nil {
		return err
	}
	return first
}
