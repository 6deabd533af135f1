package state

import (
	"os"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// List returns the ids of all containers below root, sorted: every directory whose name
// can be an id. A missing root is an error that matches ENOENT.
func List(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fault.StateFailed.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
