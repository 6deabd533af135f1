//go:build !unix

package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// readConfig reads a config.json where bundles are only inspected, not run.
func readConfig(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("JSON specification file %s not found: %w", ConfigFile, err)
	}
	if err != nil {
		return nil, err
	}
	switch size := info.Size(); {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case size > MaxConfigSize:
		return nil, fmt.Errorf("%s: %d bytes, more than the limit of %d", path, size, MaxConfigSize)
	case size == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return os.ReadFile(path)
}
