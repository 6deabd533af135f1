package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/mount"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/stdio"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// create makes the container by the runtime, or, from a checkpoint, prepares its restoration by Start.
func (s *Service) create(ctx context.Context, r *task.CreateTaskRequest) (_ *task.CreateTaskResponse, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := s.newContainer(r, cancel)
	if err != nil {
		return nil, err
	}
	if err := s.reserve(c); err != nil {
		return nil, err
	}
	defer close(c.created)
	defer func() {
		if err != nil {
			c.undo()
			s.forget(c.id, nil)
		}
	}()
	if err := c.prepare(ctx, r, s.Events.Open); err != nil {
		return nil, err
	}
	handle, err := c.make(ctx, r)
	if err != nil {
		return nil, err
	}
	answer := &task.CreateTaskResponse{}
	if handle != nil {
		answer.Pid = uint32(handle.Pid)
		c.watchCgroup(handle.Pid)
		c.leaveRootfs()
	}
	c.tell(createEvent(r, int(answer.Pid)))
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	if handle != nil {
		c.init.run(handle)
	}
	return answer, nil
}

// newContainer reads what the request and the bundle say.
func (s *Service) newContainer(r *task.CreateTaskRequest, cancel context.CancelFunc) (*container, error) {
	if r.Id == "" {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "id is empty")
	}
	if !filepath.IsAbs(r.Bundle) {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "bundle: %q is not an absolute path", r.Bundle)
	}
	b, err := bundle.Open(r.Bundle)
	if err != nil {
		return nil, bundleError(err)
	}
	if s.Furnish != nil {
		if err := s.Furnish(b.Path()); err != nil {
			return nil, bundleError(err)
		}
	}
	config, err := b.Config()
	if err != nil {
		return nil, bundleError(err)
	}
	o, err := bundle.DecodeOptions(r.Options)
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "%w", err)
	}
	c := &container{
		id:      r.Id,
		bundle:  b,
		options: o,
		runtime: oci.For(o, s.Namespace, b.RuntimeLog()),
		shared:  !config.PrivatePIDs(),
		brief:   config.BriefRootfs(),
		created: make(chan struct{}),
		cancel:  cancel,
		turn:    make(chan struct{}, 1),
		execs:   map[string]*process{},
	}
	c.turn <- struct{}{}
	c.init = newProcess(c, "", stdio.Spec{
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal,
		UID: int(o.IoUid), GID: int(o.IoGid), ID: r.Id, Namespace: s.Namespace,
	})
	return c, nil
}

// bundleError finds the class of what is wrong with a bundle.
func bundleError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ttrpc.Errorf(ttrpc.NotFound, "%w", err)
	}
	return ttrpc.Errorf(ttrpc.InvalidArgument, "%w", err)
}

// prepare makes what the runtime needs.
func (c *container) prepare(ctx context.Context, r *task.CreateTaskRequest, open func(bundle string) (*events.Log, error)) error {
	// The rootfs counts: the delete action would unmount it.
	if err := c.bundle.SetPhase(bundle.Created); err != nil {
		return err
	}
	if err := c.bundle.SetOptions(r.Options); err != nil {
		return err
	}
	log, err := open(c.bundle.Path())
	if err != nil {
		return err
	}
	c.log = log
	if len(r.Rootfs) > 0 {
		rootfs := c.bundle.Rootfs()
		if err := os.Mkdir(rootfs, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := mount.All(r.Rootfs, rootfs); err != nil {
			return fmt.Errorf("mount the rootfs: %w", err)
		}
		c.mounted = true
	}
	io, err := stdio.Open(ctx, c.init.streams, c.bundle.Path())
	if err != nil {
		return stdioError(err)
	}
	return c.init.setIO(io)
}

// stdioError finds the class of what is wrong with the streams that a client names.
func stdioError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ttrpc.Errorf(ttrpc.NotFound, "stdio: %w", err)
	}
	return fmt.Errorf("stdio: %w", err)
}

// make has the runtime create the container and returns its init process; nil if it is to be restored.
func (c *container) make(ctx context.Context, r *task.CreateTaskRequest) (*reap.Process, error) {
	in, out, errs := c.init.io.Files()
	flags := oci.CreateOptions{
		Bundle:        c.bundle.Path(),
		PidFile:       c.bundle.PidFile(),
		ConsoleSocket: c.init.io.ConsoleSocket(),
		NoPivot:       c.options.NoPivotRoot,
		NoNewKeyring:  c.options.NoNewKeyring,
		Stdio:         oci.Stdio{In: in, Out: out, Err: errs},
	}
	if r.Checkpoint != "" {
		c.restore = &oci.RestoreOptions{CreateOptions: flags, Images: r.Checkpoint, Work: c.options.CriuWorkPath}
		return nil, nil
	}
	defer reap.Expect()()
	if err := c.runtime.Create(ctx, c.id, flags); err != nil {
		return nil, runtimeError("OCI runtime create failed", err)
	}
	return c.init.attach(ctx, flags.PidFile)
}

// attachLimit is how long the runtime's terminal may take to arrive: it was sent before the runtime ended.
const attachLimit = 30 * time.Second

// attach begins the copying, and takes the process that the runtime has left behind.
func (p *process) attach(ctx context.Context, pidFile string) (*reap.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	if err := p.io.Start(ctx); err != nil {
		return nil, fmt.Errorf("stdio: %w", err)
	}
	pid, err := bundle.ReadPid(pidFile)
	if err != nil {
		return nil, fmt.Errorf("pid file of the OCI runtime: %w", err)
	}
	return reap.Open(pid)
}

// leaveRootfs leaves the rootfs to the container, whose mount namespace has it. Each mount that the host keeps would be
// copied into the namespace of every container that comes later.
func (c *container) leaveRootfs() {
	if !c.mounted || !c.brief {
		return
	}
	if err := mount.Detach(c.bundle.Rootfs()); err != nil {
		c.warn("leave the rootfs to the container", err)
	}
}

// undo removes what a failed creation has left.
func (c *container) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), deleteLimit)
	defer cancel()
	if err := c.runtimeDelete(ctx, true); err != nil {
		c.warn("undo the creation", err)
	}
	c.cleanUp()
}

// cleanUp closes and unmounts what the shim has made for a container that is gone.
func (c *container) cleanUp() {
	if io := c.init.stdio(); io != nil {
		if err := io.Close(); err != nil {
			c.warn("close the stdio", err)
		}
	}
	if c.mounted {
		if err := mount.UnmountAll(c.bundle.Rootfs()); err != nil {
			c.warn("unmount the rootfs", err)
		}
	}
	if c.log != nil {
		if err := c.log.Close(); err != nil {
			c.warn("close the event log", err)
		}
	}
}
