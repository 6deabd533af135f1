package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/bootstrap"
	"github.com/gantry-containers/gantry/shim/bundle"
	"github.com/gantry-containers/gantry/shim/mount"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/sandbox"
)

// deleteLimit is how long the OCI runtime may take. The daemon gives the whole action five seconds.
const deleteLimit = 4 * time.Second

// remove removes what a shim that is gone has left in a bundle, and says on stdout how the container ended. The daemon
// calls it whenever it loses a shim, and after each that left as it should: then there is nothing to do.
func remove(f flags) error {
	b, err := bundle.Open(f.bundle)
	if err != nil {
		return err
	}
	before := b.Phase()
	if before == bundle.Created {
		if err := errors.Join(removeContainer(f, b), removeOrphans(f, b)); err != nil {
			fmt.Fprintln(os.Stderr, err) // the daemon warns of it, and goes on
		}
	}
	exit, err := lastExit(b)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := deliverRest(f, b, before, exit); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := removeSocket(b); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	answer, err := exit.response().MarshalVT()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(answer)
	return err
}

// removeSocket removes the socket of a shim that was killed. One that serves others of its group lives.
func removeSocket(b *bundle.Bundle) error {
	address, err := b.Address()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return bootstrap.RemoveStale(address)
}

// removeContainer kills what is left of the container, and unmounts its rootfs.
func removeContainer(f flags, b *bundle.Bundle) error {
	ctx, cancel := context.WithTimeout(context.Background(), deleteLimit)
	defer cancel()
	options, err := b.Options()
	if err != nil {
		return err
	}
	runtime := oci.For(options, f.namespace, b.RuntimeLog())
	failed := runtime.Delete(ctx, f.id, true)
	if errors.Is(failed, oci.ErrNotFound) {
		failed = nil
	}
	if err := mount.UnmountAll(b.Rootfs()); err != nil {
		return errors.Join(failed, err)
	}
	if failed != nil {
		return failed
	}
	return b.SetPhase(bundle.Deleted)
}

// removeOrphans does the same for the containers of a sandbox. The daemon may do so at the same moment.
func removeOrphans(f flags, b *bundle.Bundle) error {
	dirs, err := sandbox.Orphans(b.Path())
	if err != nil {
		return err
	}
	errs := make([]error, len(dirs))
	var all sync.WaitGroup
	for i, dir := range dirs {
		all.Go(func() {
			orphan, err := bundle.Open(dir)
			if err == nil && orphan.Phase() == bundle.Created {
				f := f
				f.id = filepath.Base(dir)
				err = removeContainer(f, orphan)
			}
			if !errors.Is(err, fs.ErrNotExist) { // the daemon was faster
				errs[i] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// ending is how a container ended.
type ending struct {
	bundle.Exit
	Recorded bool // the shim has seen it
}

func (e ending) response() *task.DeleteResponse {
	return &task.DeleteResponse{Pid: uint32(e.Pid), ExitStatus: e.Status, ExitedAt: known.New(e.ExitedAt)}
}

// lastExit is what the shim saw, or what removing the container came to.
func lastExit(b *bundle.Bundle) (ending, error) {
	exit, err := b.Exit()
	if err == nil {
		return ending{exit, true}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	pid, pidErr := b.Pid()
	if errors.Is(pidErr, fs.ErrNotExist) {
		pidErr = nil // none was made
	}
	killed := bundle.Exit{Pid: pid, Status: 128 + uint32(unix.SIGKILL), ExitedAt: time.Now()}
	return ending{killed, false}, errors.Join(err, pidErr)
}
