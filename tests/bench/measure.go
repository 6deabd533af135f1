package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// opTimeout ends a command that hangs, such as a runtime that waits for a child which the kernel has killed.
const opTimeout = 20 * time.Second

// cost is what some commands took, the processes that they left to this one included.
type cost struct {
	cpu  time.Duration // user and system time of every process reaped
	wall time.Duration // of the commands alone
}

// errStopped tells of an interrupt.
var errStopped = errors.New("stopped by a signal")

// meter runs commands one after another and adds up what they cost.
type meter struct {
	stop   <-chan os.Signal
	stderr *os.File // receives the error output of every command
	null   *os.File
	// residents are container processes that stay: their end is not waited for.
	residents []int
	total     cost
}

// run runs one command to its end. Every process that ends meanwhile is counted.
func (m *meter) run(argv ...string) error {
	if err := m.stderr.Truncate(0); err != nil {
		return err
	}
	begin := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{m.null.Fd(), m.null.Fd(), m.stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	watched := make(chan struct{})
	stopped := make(chan error, 1)
	go m.watch(pid, watched, stopped)
	status, err := m.waitFor(pid)
	m.total.wall += time.Since(begin)
	close(watched)
	if stopErr := <-stopped; stopErr != nil {
		return stopErr
	}
	if err == nil && status != 0 {
		text, _ := os.ReadFile(m.stderr.Name()) // the status alone says enough to go on
		err = fmt.Errorf("%s: status %#x: %s", strings.Join(argv, " "), int(status), strings.TrimSpace(string(text)))
	}
	return err
}

// watch kills the command's group when it hangs or an interrupt comes, until watched is closed.
func (m *meter) watch(pid int, watched <-chan struct{}, stopped chan<- error) {
	timer := time.NewTimer(opTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-watched:
	case <-timer.C:
		err = fmt.Errorf("command hangs: killed after %v", opTimeout)
	case <-m.stop:
		err = errStopped
	}
	if err != nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended this moment
		<-watched
	}
	stopped <- err
}

// waitFor reaps until pid has ended.
func (m *meter) waitFor(pid int) (syscall.WaitStatus, error) {
	for {
		reaped, status, err := m.reap(0)
		if err != nil || reaped == pid {
			return status, err
		}
	}
}

// drain reaps every adopted process but the residents, waiting for those that still run.
func (m *meter) drain() error {
	for deadline := time.Now().Add(opTimeout); ; {
		pid, _, err := m.reap(syscall.WNOHANG)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil:
			return err
		case pid > 0:
			continue
		}
		pids := slices.DeleteFunc(children(), func(pid int) bool { return slices.Contains(m.residents, pid) })
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v don't end", pids)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func (m *meter) reap(flags int) (int, syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, flags, &usage)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err == nil && pid > 0 {
			m.total.cpu += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
		return pid, status, err
	}
}

// take returns what was counted since the last take.
func (m *meter) take() cost {
	total := m.total
	m.total = cost{}
	return total
}

// children lists the processes whose parent is this one.
func children() []int {
	paths, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is valid
	var pids []int
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended; its children are listed under another one
		}
		for word := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
