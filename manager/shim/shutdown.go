package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// Shutdown asks the server to end, and waits for it, three seconds at most; then it is killed. A server that has other
// tasks goes on. A caller that gives up changes nothing. The connection is given up, but for the Close that is still to be
// called; where the server has ended, Gone tells so.
func (s *Shim) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.server.limits.shutdown)
	defer cancel()
	_, err := s.Tasks().Shutdown(ctx, &taskv3.ShutdownRequest{ID: s.bundle.ID})
	hangs := ctx.Err() != nil
	if errors.Is(err, ttrpc.ErrClosed) || !s.server.alive() {
		err = nil
	}
	if !s.launcher.alone(s.server) || err != nil && !hangs {
		return err
	}
	s.server.hangUp() // a shim may wait for that
	deadline, _ := ctx.Deadline()
	switch {
	case s.server.process != nil && s.server.wait(max(time.Until(deadline), 0)):
		removeStale(s.server.address) // containerd's shims of 2.x leave that of a group
	case s.server.process == nil && !hangs: // nobody can see whether it ends
	case s.server.process == nil:
		return fmt.Errorf("the shim does not answer, and does not tell its process: %w", errdefs.ErrFailedPrecondition)
	default:
		if err := s.kill(); err != nil {
			return err
		}
		removeStale(s.server.address)
	}
	s.launcher.removeSockets(s.bundle) // which it leaves when it was killed, or has panicked
	s.server.die()
	// One that crashed, or was killed, has left them.
	s.launcher.removeOwnSockets(s.bundle)
	removeStaleGroup(s.server.address)
	return nil
}

// kill ends a server that does not end by itself.
func (s *Shim) kill() error {
	pid := s.server.pid
	if other := othersAt(s.bundle, s.server.address); other != "" {
		return fmt.Errorf("the shim, process %d, does not end, and is that of %q, too: %w", pid, other, errdefs.ErrFailedPrecondition)
	}
	if !runs(pid, s.bundle) {
		return fmt.Errorf("the shim says that it is process %d, which is none: %w", pid, errdefs.ErrFailedPrecondition)
	}
	slog.Warn("a shim does not end and is killed", "namespace", s.bundle.Namespace, "id", s.bundle.ID, "pid", pid)
	if err := s.server.process.kill(); err != nil {
		return err
	}
	s.server.wait(s.server.limits.shutdown)
	return nil
}

// runs tells whether a process runs the bundle's shim: what a shim says of its pid is not believed.
func runs(pid int, b *bundle.Bundle) bool {
	binary, err := binaryOf(b)
	if err != nil {
		return false
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	started, err := identify(exe)
	if err != nil {
		return false
	}
	if now, err := identify(binary); err == nil && now == started {
		return true
	}
	path, err := os.Readlink(exe) // the binary may have been replaced
	return err == nil && path == binary+" (deleted)"
}

// othersAt finds another bundle of the same server, which may be one that could not be loaded.
func othersAt(b *bundle.Bundle, address string) string {
	own := filepath.Dir(b.Path)
	entries, err := os.ReadDir(own)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(own, e.Name(), bootstrapFile))
		if err != nil || e.Name() == b.ID || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if answer, err := parseAnswer(data); err == nil && answer.Address == address {
			return e.Name()
		}
	}
	return ""
}
