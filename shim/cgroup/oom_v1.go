package cgroup

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How long after the kernel's word of a want of memory the kill can be late. That word comes first, and the kill waits
// for the end of the last victim, which the kernel helps along after two seconds (OOM_REAPER_DELAY).
const (
	killWait  = 10 * time.Second
	killPause = 250 * time.Millisecond // at most, between two looks
)

// watchV1 has an eventfd counted up, Documentation/admin-guide/cgroup-v1/memory.rst "OOM Control".
func (o *OOM) watchV1(dir string) (wait func(), err error) {
	control, err := unix.Open(dir+"/memory.oom_control", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, missing(dir, "memory.oom_control", err)
	}
	defer unix.Close(control)
	o.kills = func() (uint64, error) { return killsV1(dir) }
	// Before the kernel is asked: a kill from now on is a new one.
	if o.told, err = o.kills(); err != nil {
		return nil, err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	file := os.NewFile(uintptr(event), "eventfd")
	if err := register(dir, event, control); err != nil {
		file.Close()
		return nil, err
	}
	o.file = file
	return o.waitV1, nil
}

// register connects an eventfd with the events of a control file.
func register(dir string, event, control int) error {
	f, err := os.OpenFile(dir+"/cgroup.event_control", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d", event, control)
	return err
}

// waitV1 looks for kills after each word of the kernel, which comes before a kill, without one where the cgroup is
// told not to kill or the victim was another cgroup's, and when the cgroup goes.
func (o *OOM) waitV1() {
	var count [8]byte
	for {
		if _, err := o.file.Read(count[:]); err != nil {
			return
		}
		deadline := time.Now().Add(killWait)
		for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, killPause) {
			more, err := o.check()
			if err != nil {
				return
			}
			if more {
				break
			}
			time.Sleep(pause)
		}
	}
}

// killsV1 counts the kills in a cgroup and those below it, since v1's numbers are of each alone.
func killsV1(dir string) (n uint64, err error) {
	f, err := openFolder(dir)
	if err != nil {
		return 0, err
	}
	defer f.close()
	if !f.fields("memory.oom_control", []field{{"oom_kill", &n}}) {
		return 0, gone(dir)
	}
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil || st.Nlink <= 2 { // no directory in it
		return n, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return n, nil // it is going: what is known counts
	}
	for _, e := range entries {
		if e.IsDir() {
			below, _ := killsV1(dir + "/" + e.Name())
			n += below
		}
	}
	return n, nil
}
