package harness

import (
	"os"
	"path/filepath"
)

// Built makes a program for a package's tests with build, which is told where to, and
// returns the program's path. A machine without Go gets the programs with the tests: they
// are in $GANTRY_PREBUILT, where they are made when they are missing, and kept. Otherwise
// they are made in dir.
func Built(dir, name string, build func(to string) error) (string, error) {
	kept := os.Getenv("GANTRY_PREBUILT")
	if kept == "" {
		file := filepath.Join(dir, name)
		return file, build(file)
	}
	file := filepath.Join(kept, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	return file, build(file)
}
