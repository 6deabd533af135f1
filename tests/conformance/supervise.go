package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run starts the program, waits for its end, and clears away what is left, in the order in which a person would:
// containers through the runtime, then processes, then mounts and cgroups.
func (j *job) run() error {
	// Container processes outlive the runtime that started them and would be adopted by process 1: adopt them here,
	// so that they are reaped at once, and so that what is left can be told from the machine's other processes.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	children := newReaper()
	before, err := takeSnapshot()
	if err != nil {
		return err
	}
	program, err := j.start(children)
	if err != nil {
		return err
	}
	var report supervisorReport
	timer := time.NewTimer(j.Timeout)
	defer timer.Stop()
	select {
	case status := <-program.ended:
		report.Died = describeEnd(status)
	case <-timer.C:
		report.Died = fmt.Sprintf("no end after %v", j.Timeout)
	case sig := <-stop:
		report.Died = fmt.Sprintf("stopped by %v", sig)
	}
	_ = unix.Kill(-program.pid, unix.SIGKILL) // the program's own group; usually nobody is left in it
	report.Left = append(report.Left, j.deleteContainers(children)...)
	report.Left = append(report.Left, killDescendants()...)
	gone, err := before.clear(j)
	report.Left = append(report.Left, gone...)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// start runs the program with a runtime wrapper that keeps states in the job's folder and notes every container id.
func (j *job) start(children *reaper) (*child, error) {
	if err := os.Mkdir(j.root(), 0o700); err != nil {
		return nil, err
	}
	// Bundles come in here. Processes in user namespaces must be able to reach theirs.
	if err := os.Mkdir(filepath.Join(j.Work, "tmp"), 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(j.Work, 0o755); err != nil {
		return nil, err
	}
	wrapper := fmt.Sprintf("#!/bin/sh\necho \"$@\" >> '%s'\nexec '%s' --root '%s' \"$@\"\n", j.callLog(), j.Runtime, j.root())
	if err := os.WriteFile(j.wrapper(), []byte(wrapper), 0o700); err != nil {
		return nil, err
	}
	stdout, err := createFile(filepath.Join(j.Work, "stdout"))
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := createFile(filepath.Join(j.Work, "stderr"))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	env := append(os.Environ(), "RUNTIME="+j.wrapper(), "TMPDIR="+filepath.Join(j.Work, "tmp"))
	return children.start([]string{j.Program}, &os.ProcAttr{
		Dir: j.Cwd, Env: env, Files: []*os.File{nil, stdout, stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
}

func (j *job) root() string    { return filepath.Join(j.Work, "root") }
func (j *job) wrapper() string { return filepath.Join(j.Work, "runtime") }
func (j *job) callLog() string { return filepath.Join(j.Work, "calls") }

func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// deleteContainers removes by force the containers that the program left, and names them.
func (j *job) deleteContainers(children *reaper) []string {
	entries, err := os.ReadDir(j.root())
	if err != nil {
		return []string{"state folder: " + err.Error()}
	}
	var left []string
	for _, entry := range entries {
		left = append(left, "container "+entry.Name())
		c, err := children.start([]string{j.Runtime, "--root", j.root(), "delete", "--force", entry.Name()}, &os.ProcAttr{})
		if err != nil {
			left = append(left, err.Error())
			continue
		}
		select {
		case status := <-c.ended:
			if end := describeEnd(status); end != "" {
				left = append(left, "container "+entry.Name()+" (delete --force: "+end+")")
			}
		case <-time.After(20 * time.Second):
			left = append(left, "container "+entry.Name()+" (delete --force hangs)")
			_ = unix.Kill(c.pid, unix.SIGKILL)
		}
	}
	return left
}

func describeEnd(status syscall.WaitStatus) string {
	switch {
	case status.Signaled():
		return "killed by " + status.Signal().String()
	case status.ExitStatus() != 0:
		return fmt.Sprintf("exit status %d", status.ExitStatus())
	}
	return ""
}
