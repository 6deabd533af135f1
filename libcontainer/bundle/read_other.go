//go:build !unix

package bundle

import (
	"errors"
	"io/fs"
	"os"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// readConfig reads a config.json where bundles are only inspected, not run.
func readConfig(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.BundleUnreadable.Errorf("JSON specification file %s not found: %w", ConfigFile, err)
	}
	if err != nil {
		return nil, err
	}
	switch size := info.Size(); {
	case !info.Mode().IsRegular():
		return nil, fault.BundleUnreadable.Errorf("%s is not a regular file", path)
	case size > MaxConfigSize:
		return nil, fault.BundleUnreadable.Errorf("%s: %d bytes, more than the limit of %d", path, size, MaxConfigSize)
	case size == 0:
		return nil, fault.BundleUnreadable.Errorf("%s is empty", path)
	}
	return os.ReadFile(path)
}
