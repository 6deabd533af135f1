package manager

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/gantry-containers/gantry/manager/config"
)

// temporary prepares the places of what lasts no longer than an operation, and unmounts what operations of a manager
// that was killed have left: layers that were being unpacked or compared.
func temporary(c config.Config) error {
	if c.Temp != "" {
		if err := os.MkdirAll(c.Temp, 0o700); err != nil {
			return fmt.Errorf("temp: %w", err)
		}
		if err := os.Setenv("TMPDIR", c.Temp); err != nil {
			return fmt.Errorf("temp: %w", err)
		}
	}
	if err := mount.SetTempMountLocation(filepath.Join(c.Root, "tmpmounts")); err != nil {
		return fmt.Errorf("place of temporary mounts: %w", err)
	}
	faults, err := mount.CleanupTempMounts(0)
	for _, f := range faults {
		slog.Warn("a temporary mount from before is left", "error", f)
	}
	if err != nil {
		slog.Warn("temporary mounts from before are left", "error", err)
	}
	return nil
}
