package main

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for every child of this process, started or adopted.
type reaper struct {
	mu    sync.Mutex // held while a child is started, so that an early end finds it in known
	known map[int]*child
}

// child is a process started by a reaper. Its end is delivered once.
type child struct {
	pid   int
	ended chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{known: map[int]*child{}}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	go func() {
		for range ends {
			r.collect()
		}
	}()
	return r
}

// start starts argv as a child of this process.
func (r *reaper) start(argv []string, attr *os.ProcAttr) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	process, err := os.StartProcess(argv[0], argv, attr)
	if err != nil {
		return nil, err
	}
	c := &child{pid: process.Pid, ended: make(chan syscall.WaitStatus, 1)}
	r.known[c.pid] = c
	return c, process.Release()
}

// collect takes every end there is: several children may end for one SIGCHLD.
func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c := r.known[pid]; c != nil {
			c.ended <- status
			delete(r.known, pid)
		}
	}
}
