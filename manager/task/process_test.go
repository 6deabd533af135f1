package task

import (
	"os/exec"
	"testing"
	"time"
)

func TestKillProcess(t *testing.T) {
	start := func() (*exec.Cmd, uint32) {
		c := exec.Command("sleep", "600")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill() }) //nolint:errcheck // it may have ended
		return c, uint32(c.Process.Pid)
	}
	c, pid := start()
	born := birth(pid)
	if born == 0 {
		t.Fatal("it has no birth")
	}
	if err := killProcess(pid, born+1, time.Minute); err != nil || birth(pid) != born {
		t.Fatal("one with the same pid was taken for it:", err)
	}
	if err := killProcess(pid, born, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || c.ProcessState.String() != "signal: killed" {
		t.Fatal(err)
	}
	if err := killProcess(pid, born, time.Minute); err != nil {
		t.Fatal("one that has ended:", err)
	}
	if err := killProcess(0, 0, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// Where the delete action can't, the manager sees to it that what it tells is true.
func TestDeleteActionFailsAndTheProcessLives(t *testing.T) {
	w := newWorld(t)
	c := exec.Command("sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		c.Wait() //nolint:errcheck // it is killed
		close(ended)
	}()
	w.shims.pids = uint32(c.Process.Pid) - 1
	s := w.run("a")
	w.shims.on("delete", fails)
	s.die()
	w.told("exit a 137", "delete a 137")
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the process lives")
		c.Process.Kill() //nolint:errcheck // the test has failed
	}
	w.deleted("a", killed)
	w.nothingLeft()
}
