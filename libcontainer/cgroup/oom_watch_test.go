package cgroup

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// hog uses 64 MiB at once.
func hog() *exec.Cmd {
	return exec.Command("sh", "-c", "head -c 64m /dev/zero | tail -c 64m >/dev/null")
}

// TestOOMWatchSeesAnOOM on the version that has the memory controller here.
func TestOOMWatchSeesAnOOM(t *testing.T) {
	s, limits := memoryGroup(t)
	w, err := s.WatchOOM()
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	defer w.Close()
	if w.Happened() {
		t.Error("before anything ran")
	}
	for _, limit := range limits {
		if err := s.Write(&limit); err != nil {
			t.Fatal(err)
		}
	}
	cmd := hog()
	start(t, s, cmd)
	poll := []unix.PollFd{{Fd: int32(w.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int((20 * time.Second).Milliseconds())); err != nil || n != 1 {
		t.Fatalf("no event: %d, %v", n, err)
	}
	_ = cmd.Wait() // killed, or its part is
	if !w.Happened() {
		t.Error("an event, and nothing happened")
	}
	if w.Happened() {
		t.Error("it happened twice")
	}
}

// memoryGroup makes a cgroup with the memory controller, and the writes that limit it to 8 MiB.
func memoryGroup(t *testing.T) (*Set, []plan.WriteCgroup) {
	t.Helper()
	if exists(mountRoot + "memory/memory.limit_in_bytes") {
		const size = "8388608"
		return create(t, "memory"), []plan.WriteCgroup{
			{Hierarchy: "memory", File: "memory.limit_in_bytes", Value: size},
			{Hierarchy: "memory", File: "memory.memsw.limit_in_bytes", Value: size, MayMiss: true},
		}
	}
	s := create(t, "")
	if _, err := readFile(s.groups[0].dir, "memory.events"); err != nil {
		t.Skip("no memory controller in either version")
	}
	return s, []plan.WriteCgroup{{File: "memory.max", Value: "8388608"}, {File: "memory.swap.max", Value: "0", MayMiss: true}}
}

// TestOOMWatchIsSilentWhenTheCgroupGoes: its removal wakes whoever waits on v1.
func TestOOMWatchIsSilentWhenTheCgroupGoes(t *testing.T) {
	s, _ := memoryGroup(t)
	w, err := s.WatchOOM()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	poll := []unix.PollFd{{Fd: int32(w.FD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, 5000); err != nil { // it takes the kernel a moment
		t.Fatal(err)
	}
	if w.Happened() {
		t.Error("the end of a cgroup is no lack of memory")
	}
}

func TestOOMWatchWithoutMemoryController(t *testing.T) {
	w, err := create(t, "pids").WatchOOM()
	if w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
}
