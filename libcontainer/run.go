package libcontainer

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
)

// Run makes a container and runs its program. Detached it returns at once with 0;
// otherwise it passes signals and terminal on, waits for the end, deletes the container
// unless Keep is set, and returns the program's exit status, or 128 and the number of
// the signal that ended it.
func (r *Runtime) Run(o *CreateOptions) (int, error) {
	if err := host.CheckKernel(); err != nil {
		return 0, err
	}
	return r.runMade(o, func() (*creation, error) { return r.create(o, true) })
}

// runMade has a container made whose program runs, and does what is left of Run.
func (r *Runtime) runMade(o *CreateOptions, launched func() (*creation, error)) (int, error) {
	if err := launch.ProtectExe(); err != nil {
		return 0, err
	}
	var relay *relay
	if !o.Detach {
		var err error
		if relay, err = newRelay(!o.NoSubreaper); err != nil {
			return 0, err
		}
		defer relay.stop()
	}
	c, err := launched()
	if err != nil {
		return 0, err
	}
	if err := poststart(c.in.spec.Hooks, ociState(c.st, Running)); err != nil {
		return 0, errors.Join(err, c.undo())
	}
	if o.Detach {
		return 0, c.leave()
	}
	return c.wait(relay)
}

// leave ends a detached run: at once, or when the container tells that it is ready.
func (c *creation) leave() error {
	if c.notify == nil {
		return c.close()
	}
	if err := c.dir.Unlock(); err != nil {
		return err
	}
	if err := c.notify.forward(c.proc.PIDFD, c.proc.PID); err != nil {
		c.r.warn(err.Error()) // the container runs all the same
	}
	return c.close()
}

// wait sees the program to its end.
func (c *creation) wait(relay *relay) (int, error) {
	// The container is there: other commands may have it.
	if err := c.dir.Unlock(); err != nil {
		return 0, err
	}
	// The service's process is the runtime: its end is what the manager sees.
	c.notify.forwardBeside(c.proc.PIDFD, unix.Getpid())
	status, err := relay.wait(c.proc, c.tty) // also on error the process has ended
	if notifyErr := c.notify.finish(); notifyErr != nil {
		c.r.warn(notifyErr.Error())
	}
	c.end()
	if c.o.Keep {
		return status, errors.Join(err, c.dir.Close())
	}
	switch lockErr := c.dir.Lock(lockWait); {
	case lockErr == nil:
		err = errors.Join(err, c.r.destroy(c.dir, c.st))
	case !errors.Is(lockErr, ErrNotExist): // not deleted by somebody else
		err = errors.Join(err, lockErr)
	}
	return status, errors.Join(err, c.dir.Close())
}

// exitStatus is how a shell would tell of the end of a process.
func exitStatus(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
