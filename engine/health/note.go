package health

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// noteMark begins the names of notes: an empty file for each probe that the manager may have. An engine that is killed
// leaves them, and the next one ends those probes.
const noteMark = "probe-"

func (s *Service) notePath(container, probe string) string {
	return filepath.Join(s.dir, noteMark+container+"-"+probe)
}

// note says that a probe begins. Without it an engine that is killed now would leave the probe in the shim.
func (s *Service) note(container, probe string) error {
	return os.WriteFile(s.notePath(container, probe), nil, 0o600)
}

// unnote says that the manager has it no more.
func (s *Service) unnote(container, probe string) {
	if err := os.Remove(s.notePath(container, probe)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("health check is not forgotten", "container", container, "error", err)
	}
}

// notes are the probes that an engine of before has left in a folder, by container.
func notes(dir string) (map[string][]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := map[string][]string{}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), noteMark)
		if i := strings.LastIndexByte(name, '-'); ok && i > 0 {
			found[name[:i]] = append(found[name[:i]], name[i+1:])
		}
	}
	return found, nil
}

// clear ends probes of an engine of before: nobody waits for their answers.
func (s *Service) clear(container string, probes []string) {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	for _, id := range probes {
		_ = s.Tasks.Kill(ctx, container, id, syscall.SIGKILL, false) // It has ended, as a rule.
		for {
			_, err := s.Tasks.DeleteExec(ctx, container, id)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				slog.Warn("a health check is left of an engine that was killed", "container", container, "error", err)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}
