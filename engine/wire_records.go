package engine

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/gantry-containers/gantry/engine/container"
)

// wireRecords reads what is known of containers. Records that cannot be read do not keep the others from being served.
func (e *Engine) wireRecords(context.Context) error {
	store, problems, err := container.Open(filepath.Join(e.config.Load().Root, "containers"))
	if err != nil {
		return err
	}
	for _, p := range problems {
		slog.Error("a record cannot be read: its container is not served", "error", p)
	}
	e.parts.records = store
	return nil
}
