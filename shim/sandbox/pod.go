package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/bundle"
	mounting "github.com/gantry-containers/gantry/shim/mount"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/sandbox/pause"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// pod is one sandbox.
type pod struct {
	id      string
	bundle  *bundle.Bundle
	wishes  *wishes
	runtime *oci.Runtime
	created time.Time
	turn    chan struct{} // holds one value: who has taken it may start, stop or remove the pause process
	ended   chan struct{} // closed when the pause process has ended, or never will be started

	mu      sync.Mutex
	view    view
	process *reap.Process // while there is one
}

// view is what may be seen of a sandbox from outside.
type view struct {
	state state
	pid   int    // of the pause process while it lives
	spec  []byte // its config.json
	exit  reap.Exit
}

func (p *pod) look() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// state is what a sandbox is.
type state string

// The states, in order.
const (
	fresh   state = "created"
	running state = "running"
	stopped state = "stopped"
)

// The bundle of the pause process: a folder in the sandbox's, with config.json and the file rootfs/pause. The sandbox's
// own rootfs folder must stay empty, or the daemon cannot remove it.
const (
	folder  = "pause"
	rootfs  = "rootfs"
	program = "pause"
)

// removeTime is how long the runtime may take to remove a container.
const removeTime = 10 * time.Second

func (p *pod) folder() string { return filepath.Join(p.bundle.Path(), folder) }

// prepare makes the bundle of the pause process.
func (p *pod) prepare() ([]byte, error) {
	text, err := json.Marshal(p.wishes.pauseSpec())
	if err != nil {
		return nil, err
	}
	code, err := pause.Program()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"", rootfs, rootfs + "/proc", rootfs + "/dev"} {
		if err := os.Mkdir(filepath.Join(p.folder(), dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(p.folder(), rootfs, program), code, 0o555); err != nil {
		return nil, err
	}
	return text, os.WriteFile(filepath.Join(p.folder(), "config.json"), text, 0o600)
}

// run starts the pause process and returns its number.
func (p *pod) run(ctx context.Context) (pid int, err error) {
	if err := p.bundle.SetPhase(bundle.Created); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.remove(context.WithoutCancel(ctx)))
		}
	}()
	text, err := p.prepare()
	if err != nil {
		return 0, err
	}
	if err := p.makeFiles(); err != nil {
		return 0, err
	}
	err = p.runtime.Create(ctx, p.id, oci.CreateOptions{Bundle: p.folder(), PidFile: p.bundle.PidFile(), NoNewKeyring: true})
	if err != nil {
		return 0, fmt.Errorf("OCI runtime create failed: %w", err)
	}
	process, err := p.adopt(text)
	if err != nil {
		return 0, err
	}
	if err := p.runtime.Start(ctx, p.id); err != nil {
		return 0, fmt.Errorf("OCI runtime start failed: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view.state == fresh { // it may have ended already
		p.view.state, p.view.pid = running, process.Pid
	}
	return process.Pid, nil
}

// adopt takes the process that the runtime has left behind.
func (p *pod) adopt(spec []byte) (*reap.Process, error) {
	pid, err := p.bundle.Pid()
	if err != nil {
		return nil, fmt.Errorf("pid file of the OCI runtime: %w", err)
	}
	process, err := reap.Open(pid)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process, p.view.spec = process, spec
	go p.watch(process)
	return process, nil
}

// watch waits for the end of the pause process.
func (p *pod) watch(process *reap.Process) {
	exit, err := process.Wait()
	if err != nil {
		p.warn("wait for the pause process", err)
	}
	err = p.bundle.SetExit(bundle.Exit{Pid: process.Pid, Status: uint32(exit.Status), ExitedAt: exit.At})
	if err != nil {
		p.warn("record the exit", err)
	}
	p.finish(exit)
	if err := process.Close(); err != nil {
		p.warn("close the pidfd", err)
	}
}

// finish notes the end, and tells those who wait.
func (p *pod) finish(exit reap.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process, p.view.state, p.view.pid, p.view.exit = nil, stopped, 0, exit
	close(p.ended)
}

// stop ends the pause process: it has so long to do it by itself. One that was never started will not be.
func (p *pod) stop(ctx context.Context, patience time.Duration) error {
	switch p.look().state {
	case stopped:
	case fresh:
		p.finish(reap.Exit{At: time.Now()})
	case running:
		if patience > 0 {
			if err := p.signal(unix.SIGTERM); err != nil {
				return err
			}
			p.await(ctx, patience)
		}
		if err := p.signal(unix.SIGKILL); err != nil {
			return err
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return ttrpc.Errorf(ttrpc.DeadlineExceeded, "the pause process of sandbox %q has not ended: %w", p.id, ctx.Err())
		}
	}
	return nil
}

// signal sends the pause process a signal, unless it has ended.
func (p *pod) signal(signal unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return nil
	}
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal the pause process of sandbox %q: %w", p.id, err)
	}
	return nil
}

// await waits for the end of the pause process, at most so long.
func (p *pod) await(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
	}
}

// remove removes the pause process's container and files.
func (p *pod) remove(ctx context.Context) error {
	if p.bundle.Phase() == bundle.Created {
		ctx, cancel := context.WithTimeout(ctx, removeTime)
		defer cancel()
		err := p.runtime.Delete(ctx, p.id, true)
		if errors.Is(err, oci.ErrNotFound) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("OCI runtime delete failed: %w", err)
		}
		if err := errors.Join(err, mounting.UnmountAll(p.bundle.Rootfs())); err != nil {
			return err
		}
		if err := p.bundle.SetPhase(bundle.Deleted); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.folder())
}

func (p *pod) warn(what string, err error) { slog.Warn(what, "sandbox", p.id, "error", err) }
