package faults_test

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestManagerKilled kills the manager under an engine that lives. Containers go on, lists and states are right, the
// next start works as soon as the manager is back, and whoever listens to events hears them.
func TestManagerKilled(t *testing.T) {
	t.Run("of the engine", func(t *testing.T) {
		s := start(t, docker.Setup{})
		s.managerKilled(func() {
			old := s.pid("exec/manager/manager.pid")
			s.signalManager(unix.SIGKILL)
			if !harness.Until(patience, func() bool { return s.pid("exec/manager/manager.pid") != old }) {
				t.Error("it is not started again")
			}
		})
	})
	t.Run("of somebody else", func(t *testing.T) {
		s := start(t, docker.Setup{Manager: true})
		s.managerKilled(func() { s.Below.Kill(); s.Below.Start() })
	})
}

func (s *subject) managerKilled(kill func()) {
	s.t.Helper()
	s.run(want("lives", "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done"))
	pid := s.inspect("lives").State.Pid
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	heard := s.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("event", string(events.ActionDie))})
	for i := range 4 {
		kill()
		if list, err := s.ContainerList(limited(s.t, patience), client.ContainerListOptions{}); err != nil || len(list.Items) != 1 {
			s.t.Errorf("ps: %d containers, %v", len(list.Items), err)
		}
		name := "next-" + strconv.Itoa(i)
		s.run(want(name, "exit 4"))
		s.until(name, "exited with code 4", func(st *containerState) bool { return st.Status == "exited" && st.ExitCode == 4 })
		select {
		case m := <-heard.Messages:
			if m.Actor.Attributes["name"] != name {
				s.t.Errorf("event %+v; want that of %s", m, name)
			}
		case err := <-heard.Err:
			s.t.Fatalf("events: %v", err)
		case <-time.After(harness.Limit(patience)):
			s.t.Errorf("no event of the end of %s", name)
		}
	}
	if st := s.inspect("lives").State; !st.Running || st.Pid != pid {
		s.t.Errorf("it does not live on: %+v", st)
	}
	before := len(s.logs("lives"))
	if !harness.Until(patience, func() bool { return len(s.logs("lives")) > before }) {
		s.t.Error("its log ends")
	}
	cancel()
	s.nothing()
}

// keeper is the process that holds the streams.
func (s *subject) keeper() int {
	s.t.Helper()
	var found []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if args := strings.Split(string(read(f)), "\x00"); len(args) > 3 && args[1] == "keeper" && args[3] == s.path("exec/keeper") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			found = append(found, pid)
		}
	}
	if len(found) > 1 {
		s.t.Errorf("%d keepers: %v", len(found), found)
	}
	if len(found) == 0 {
		return 0
	}
	return found[0]
}
