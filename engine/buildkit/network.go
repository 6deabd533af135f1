package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/networks"
)

// Steps leads steps of builds to the default bridge. *networks.Service does.
type Steps interface {
	JoinStep(ctx context.Context, step, namespace, device string) (*networks.Place, error)
	LeaveSteps(ctx context.Context) error
}

// stepDevice is what BuildKit wants the device of a step to be called.
const stepDevice = "eth0"

// kept are the files of the daemon's network namespaces, by the names of steps. The daemon keeps namespaces for five
// minutes, for later steps.
func (s *Service) kept() (files []string, err error) {
	dir := filepath.Join(s.o.Root, "net", "cni")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		files = append(files, filepath.Join(dir, e.Name()))
	}
	return files, err
}

// plug gives the namespaces that the daemon keeps their places on the bridge back, until all builds have called unplug:
// nothing of them is to be seen between builds. Those that it makes meanwhile it asks for by itself.
func (s *Service) plug(ctx context.Context) (unplug func(), err error) {
	s.plugging.Lock()
	defer s.plugging.Unlock()
	files, err := s.kept()
	if err != nil {
		return nil, err
	}
	s.plugged++
	for _, path := range files {
		_, err := s.o.Steps.JoinStep(context.WithoutCancel(ctx), filepath.Base(path), path, stepDevice)
		if err != nil && !errdefs.IsInvalidArgument(err) { // The daemon takes away what it has not used for long.
			s.unplug()
			return nil, fmt.Errorf("network of steps: %w", err)
		}
	}
	return sync.OnceFunc(func() {
		s.plugging.Lock()
		defer s.plugging.Unlock()
		s.unplug()
	}), nil
}

// unplug is the end of one build. The caller holds plugging.
func (s *Service) unplug() {
	if s.plugged--; s.plugged == 0 {
		s.leave(context.Background())
	}
}

// leave takes the networks of all steps away.
func (s *Service) leave(ctx context.Context) {
	if err := s.o.Steps.LeaveSteps(ctx); err != nil {
		slog.Error("networks of builds may be left", "error", err)
	}
}

// discard takes the namespaces away that a daemon has left, and their networks. It would do so itself when it starts, and
// finds the empty files then: what it noted of them in /var/lib/cni goes together with those.
func (s *Service) discard(ctx context.Context) {
	files, err := s.kept()
	errs := []error{err}
	for _, path := range files {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &os.PathError{Op: "unmount", Path: path, Err: err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		slog.Error("network namespaces of builds may be left", "error", err)
	}
	s.leave(ctx)
}
