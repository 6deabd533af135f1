package libcontainer

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/cgroup/stats"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

//go:generate go run ./internal/jsongen -out events_gen.go -encode Event

// Event is one thing that `runc events` tells.
type Event struct {
	Type  string       `json:"type"` // EventStats or EventOOM
	ID    string       `json:"id"`
	Stats *stats.Stats `json:"data,omitempty"`
}

// The types of events.
const (
	EventStats = "stats"
	EventOOM   = "oom"
)

// AppendJSON adds the event as an object on one line.
func (e *Event) AppendJSON(b []byte) []byte { return appendEvent(b, e) }

// Stats reads the statistics of a created, running or paused container.
func (r *Runtime) Stats(id string) (*Event, error) {
	w, err := r.watch(id)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.stats()
}

// Events tells about a container until it stops: statistics each interval, and each time
// that it ran out of memory. An error of tell ends it.
func (r *Runtime) Events(id string, interval time.Duration, tell func(*Event) error) error {
	w, err := r.watch(id)
	if err != nil {
		return err
	}
	defer w.close()
	if w.oom, err = w.set.WatchOOM(); err != nil {
		return err
	}
	for next := time.Now().Add(interval); ; {
		happened, stopped, err := w.wait(time.Until(next))
		if err != nil {
			return err
		}
		if happened {
			if err := tell(&Event{Type: EventOOM, ID: id}); err != nil {
				return err
			}
		}
		if stopped {
			return nil
		}
		if time.Until(next) > 0 {
			continue
		}
		next = time.Now().Add(interval)
		e, err := w.stats()
		if err != nil {
			r.warn(err.Error())
			continue
		}
		if err := tell(e); err != nil {
			return err
		}
	}
}

// watcher looks at a container that runs.
type watcher struct {
	r     *Runtime
	st    *state.State
	set   *cgroup.Set
	pidfd int
	oom   *cgroup.OOMWatch // nil without a memory cgroup
}

func (r *Runtime) watch(id string) (*watcher, error) {
	dir, st, err := r.load(id)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	pidfd, err := openInit(st.Init)
	if err != nil {
		if err == ErrNotRunning {
			err = fault.ContainerNotRunning.Errorf("container with id %s is not running", id)
		}
		return nil, err
	}
	return &watcher{r: r, st: st, set: cgroup.FromState(st.CgroupPaths), pidfd: pidfd}, nil
}

func (w *watcher) close() {
	_ = unix.Close(w.pidfd)
	if w.oom != nil {
		w.oom.Close()
	}
}

func (w *watcher) stats() (*Event, error) {
	s, err := stats.Read(w.set)
	if err != nil && !w.st.Rootless { // a rootless user may not read everything
		return nil, err
	}
	if w.st.IntelRdt.Group != "" {
		if s.IntelRdt, err = resctrl.ReadStats(&w.st.IntelRdt); err != nil {
			return nil, err
		}
	}
	return &Event{Type: EventStats, ID: w.st.ID, Stats: s}, nil
}

// wait sleeps until there is something to tell, or the time is over. What led to the end of
// the container is found even if the end is seen first: the kernel counts before it kills.
func (w *watcher) wait(timeout time.Duration) (oom, stopped bool, err error) {
	poll := [2]unix.PollFd{{Fd: int32(w.pidfd), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
	if w.oom != nil {
		poll[1].Fd = int32(w.oom.FD())
	}
	limit := unix.NsecToTimespec(max(0, timeout.Nanoseconds()))
	_, err = unix.Ppoll(poll[:], &limit, nil)
	if err != nil && err != unix.EINTR {
		return false, false, fmt.Errorf("ppoll: %w", err)
	}
	stopped = poll[0].Revents != 0
	if w.oom != nil && (stopped || poll[1].Revents != 0) {
		oom = w.oom.Happened()
	}
	return oom, stopped, nil
}
