package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// OOM tells of processes of the cgroup that were killed for want of memory.
type OOM struct {
	killed func()
	kills  func() (uint64, error) // how many there were
	file   *os.File               // what the kernel wakes with; nil where there is nothing to watch

	mu     sync.Mutex
	told   uint64 // kills that killed was called for
	closed bool
}

// WatchOOM calls killed at least once after each kill or burst of kills, from a goroutine of its own. Killed must not
// call methods of the watch: Flush and Close wait while it runs. Where memory is not controlled the watch is of
// nothing. It does not end by itself when the cgroup goes. The error is fs.ErrNotExist where that has happened.
func (c *Cgroup) WatchOOM(killed func()) (*OOM, error) {
	o := &OOM{killed: killed}
	var wait func()
	var err error
	if dir := c.dir("memory"); dir != "" {
		wait, err = o.watchV1(dir)
	} else if c.unified != "" {
		wait, err = o.watchV2(c.unified, "memory.events", "oom_kill")
	}
	if err != nil {
		return nil, fmt.Errorf("watch for OOM kills: %w", err)
	}
	if wait != nil {
		go wait()
	}
	return o, nil
}

// Flush calls killed, in the caller's goroutine, if there was a kill that it has not been called for.
func (o *OOM) Flush() { _, _ = o.check() }

// Close ends the watch. Afterwards killed is not called any more.
func (o *OOM) Close() error {
	o.mu.Lock()
	before := o.closed
	o.closed = true
	o.mu.Unlock()
	if before || o.file == nil {
		return nil
	}
	return o.file.Close() // not under the lock: it waits for who reads
}

// check calls killed if there are new kills. The error tells that there is nothing to watch any more.
func (o *OOM) check() (more bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.file == nil {
		return false, fs.ErrClosed
	}
	n, err := o.kills()
	if err != nil {
		return false, err
	}
	more = n > o.told
	o.told = n // fewer, too: on v1 a cgroup below takes its number along when it goes
	if more {
		o.killed()
	}
	return more, nil
}

// missing makes the error of a file that is not there: the controller is missing, which is nil, or the cgroup.
func missing(dir, file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && unix.Access(dir, unix.F_OK) == nil {
		return nil
	}
	return &os.PathError{Op: "open", Path: dir + "/" + file, Err: err}
}
