package build

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/containers"
)

// Load takes away what builds have left whose engine was killed: their contexts, and the containers of their steps.
func (s *Service) Load(ctx context.Context) error {
	list, err := os.ReadDir(s.parts.Dir)
	if err != nil {
		return err
	}
	for _, d := range list {
		dir := filepath.Join(s.parts.Dir, d.Name())
		if err := errors.Join(s.sweepContainers(ctx, filepath.Join(dir, containersFile)), os.RemoveAll(dir)); err != nil {
			slog.Error("something is left of a build that was broken off", "folder", dir, "error", err)
		}
	}
	return nil
}

func (s *Service) sweepContainers(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var errs []error
	for lines := bufio.NewScanner(f); lines.Scan(); {
		err := s.parts.Containers.Remove(ctx, lines.Text(), containers.Remove{Force: true, Volumes: true})
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
