package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// result is how one program ended against one runtime.
type result struct {
	tap tapReport
	// died says how the program ended when it didn't end well by itself, with its last words; empty otherwise.
	died string
	// left names what remained after the program: "cgroup PATH", "mount PATH", "process PID ARGS", "container ID".
	left []string
}

// passed reports a clean run: nothing failed, and the program reached its end.
func (r *result) passed() bool {
	return r.tap.failed == 0 && r.died == ""
}

// runProgram runs one program against one runtime under a supervisor and waits until everything it made is gone.
func runProgram(suite *suite, name, runtimePath string, opts options, stop <-chan os.Signal) (*result, error) {
	work, err := os.MkdirTemp("", "gantry-conformance-")
	if err != nil {
		return nil, err
	}
	defer removeWork(work)
	cwd := suite.dir
	if files := repairs[name]; files != nil && !opts.stock {
		if cwd, err = repairedSuite(suite.dir, work, files); err != nil {
			return nil, fmt.Errorf("repair the root file system: %w", err)
		}
	}
	task := job{
		Program: filepath.Join(suite.dir, "bin", name), Runtime: runtimePath, Cwd: cwd, Work: work,
		Timeout: opts.timeout,
	}
	arg, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", string(arg))
	cmd.Env = append(os.Environ(), stageEnv+"=supervise")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A group of its own: an interrupt at the terminal reaches the supervisor once, through this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err = cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case sig := <-stop:
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended this moment
		if err = <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "conformance: supervisor:", err)
		}
		return nil, fmt.Errorf("stopped by %v", sig)
	}
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w: %s", err, errs.String())
	}
	return readResult(work, out.Bytes())
}

// removeWork removes a job's folder, unless something is still mounted there: removing would go on inside it.
func removeWork(work string) {
	mounts, err := listMounts()
	busy := func(m mountPoint) bool { return strings.HasPrefix(m.path, work+"/") }
	if err == nil && !slices.ContainsFunc(mounts, busy) {
		err = os.RemoveAll(work)
	} else if err == nil {
		err = fmt.Errorf("%s: still has mounts, not removed", work)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
}

func readResult(work string, supervised []byte) (*result, error) {
	var report supervisorReport
	if err := json.Unmarshal(supervised, &report); err != nil {
		return nil, fmt.Errorf("supervisor's report: %w", err)
	}
	stdout, err := os.Open(filepath.Join(work, "stdout"))
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.ReadFile(filepath.Join(work, "stderr"))
	if err != nil {
		return nil, err
	}
	r := &result{tap: parseTAP(stdout), left: report.Left, died: report.Died}
	if r.died == "" && r.tap.header && !r.tap.plan {
		r.died = "ended before its plan"
	}
	if r.died != "" {
		if last := lastLines(stderr, 2); last != "" {
			r.died += ": " + last
		}
	}
	return r, nil
}

// lastLines joins the last n lines of text, without those that only repeat the exit status.
func lastLines(text []byte, n int) string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "exit status") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// job is what a supervisor is told to do.
type job struct {
	Program string        // validation program to run
	Runtime string        // runtime it judges
	Cwd     string        // folder with runtimetest and the root file system archive
	Work    string        // folder for everything made on the way; the caller removes it
	Timeout time.Duration // after this the program is killed
}

// supervisorReport is what a supervisor prints when it is done.
type supervisorReport struct {
	Died string
	Left []string
}

// supervise runs one job and prints a supervisorReport. It returns the exit status of this process.
func supervise(args []string) int {
	var j job
	err := errors.New("want one job")
	if len(args) == 1 {
		if err = json.Unmarshal([]byte(args[0]), &j); err == nil {
			err = j.run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}
