package launch

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// maxHookOutput is how much of a failed hook's output an error quotes, in bytes.
const maxHookOutput = 4096

// RunHook runs a hook with the container's state on stdin, and waits for it. launched starts
// its process with these descriptors as stdio. A hook that fails, or outlives its timeout and
// is killed, is an error that quotes what it wrote.
func RunHook(h *specs.Hook, containerState []byte, launched func(stdio []int) (*Process, error)) error {
	stdin, err := memfd("hook-stdin", containerState)
	if err != nil {
		return err
	}
	defer unix.Close(stdin)
	output, err := memfd("hook-output", nil)
	if err != nil {
		return err
	}
	defer unix.Close(output)
	p, err := launched([]int{stdin, output, output})
	if err != nil {
		return err
	}
	defer unix.Close(p.PIDFD)
	status, err := p.waitAtMost(h.Timeout)
	if err != nil {
		return err
	}
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	return fmt.Errorf("%s%s", describe(status), quote(output))
}

// StartHook starts a hook in the runtime's namespaces, or, with a target, in those of a
// container that is being made, as its root, in the directory dir of its mount namespace.
func StartHook(h *specs.Hook, stdio []int, target *Target, dir string) (*Process, error) {
	l := &Launch{Plan: hookPlan(h, target, dir), Target: -1, Start: -1, Console: -1, Stdio: stdio}
	if target != nil {
		l.Target = target.PIDFD
	}
	return l.Run()
}

// hookPlan is the plan of a hook: as that of exec, it enters the pid namespace last.
func hookPlan(h *specs.Hook, target *Target, dir string) *plan.Plan {
	p := &plan.Plan{}
	add := func(do plan.Action) { p.Ops = append(p.Ops, plan.Op{Actor: plan.Child, Field: "hooks", Do: do}) }
	p.Ops = append(p.Ops, plan.Op{Actor: plan.Runtime, Field: "hooks", Do: &plan.Clone{}})
	add(&plan.CloseFDs{})
	if target != nil {
		add(&plan.SealExe{})
		add(&plan.Undumpable{})
		add(&plan.JoinContainer{Types: target.Namespaces})
		if target.has("user") {
			add(&plan.BecomeRoot{})
		}
		add(&plan.ChangeDir{Path: dir, AsRoot: true})
		add(&plan.ChangeDir{Path: dir})
	}
	add(&plan.ResetSignals{})
	add(&plan.FindProgram{Name: h.Path})
	if target != nil && target.has("pid") {
		add(&plan.Fork{})
	}
	env := h.Env
	if env == nil && target == nil {
		env = os.Environ() // as runc: many hooks are written for it
	}
	add(&plan.Execute{Args: HookArgs(h), Env: env})
	return p
}

// HookArgs are a hook's arguments, of which the first is its name.
func HookArgs(h *specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

// waitAtMost waits for the end; after the timeout in seconds, if any, it kills.
func (p *Process) waitAtMost(seconds *int) (unix.WaitStatus, error) {
	if seconds == nil {
		return p.Wait()
	}
	fired := make(chan struct{})
	timer := time.AfterFunc(time.Duration(*seconds)*time.Second, func() {
		_ = unix.PidfdSendSignal(p.PIDFD, unix.SIGKILL, nil, 0)
		close(fired)
	})
	status, err := p.Wait()
	if timer.Stop() {
		return status, err
	}
	<-fired // the descriptor is closed after this
	if err == nil && status.Signaled() {
		return status, fmt.Errorf("timed out after %d s", *seconds)
	}
	return status, err
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return "exit status " + itoa(status.ExitStatus())
}

// quote renders a hook's output for an error.
func quote(fd int) string {
	b := make([]byte, maxHookOutput)
	n, err := unix.Pread(fd, b, 0)
	if err != nil || n <= 0 {
		return ""
	}
	return ", output: " + strings.TrimSpace(string(b[:n]))
}

// memfd makes an anonymous file with content, read from its beginning.
func memfd(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if n, err := unix.Pwrite(fd, content, 0); err != nil || n != len(content) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("write memfd: %w", errors.Join(unix.EIO, err))
	}
	return fd, nil
}
