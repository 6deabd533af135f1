package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Where containerd, from 2.0 on, keeps bundles: STATE/sandboxes/NAMESPACE/ID, and STATE/tasks/NAMESPACE/ID.
const (
	sandboxes = "io.containerd.sandbox.controller.v1.shim"
	tasks     = "io.containerd.runtime.v2.task"
)

// IsBundle says that a bundle is that of a sandbox.
func IsBundle(path string) bool { return filepath.Base(filepath.Dir(filepath.Dir(path))) == sandboxes }

// Orphans lists the bundles of the containers that a killed shim has left beside its sandbox, whose bundle this is. It
// is for the delete action: containerd before 2.4 calls that for the sandbox alone. A sandbox that was shut down
// has none: its containers live on in the shim.
func Orphans(bundle string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(bundle, folder)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	namespace, id := filepath.Split(bundle)
	dir := filepath.Join(namespace, "../..", tasks, filepath.Base(namespace))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		note, err := os.ReadFile(filepath.Join(dir, e.Name(), "sandbox"))
		if err == nil && string(note) == id {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found, nil
}
