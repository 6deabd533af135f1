package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	toolsModule  = "github.com/opencontainers/runtime-tools"
	toolsVersion = "v0.9.1-0.20251205004911-5e639034dcdc"
	// programCount is the number of validation programs in toolsVersion: a smaller number means a broken module.
	programCount = 58
)

// suite is the built validation programs and what they expect to find in their working directory.
type suite struct {
	dir      string // holds bin/, runtimetest and the root file system archive
	programs []string
}

// prepareSuite returns the suite from the cache, building it first when it isn't there.
func prepareSuite() (*suite, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	dir := filepath.Join(cache, "gantry", "conformance", toolsVersion)
	if _, err = os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err = buildSuite(dir); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "bin"))
	if err != nil {
		return nil, err
	}
	s := &suite{dir: dir}
	for _, entry := range entries {
		s.programs = append(s.programs, entry.Name())
	}
	if len(s.programs) != programCount {
		return nil, fmt.Errorf("%s holds %d programs, want %d: remove it", dir, len(s.programs), programCount)
	}
	return s, nil
}

// selectPrograms returns the programs named in only, or all of them when it is empty.
func (s *suite) selectPrograms(only []string) ([]string, error) {
	if len(only) == 0 {
		return s.programs, nil
	}
	for _, name := range only {
		if !slices.Contains(s.programs, name) {
			return nil, fmt.Errorf("no validation program is called %q", name)
		}
	}
	return only, nil
}

// buildSuite builds in a folder beside dir and renames it, so that an interrupted build is never taken for a suite.
// A scratch module keeps the programs' dependencies out of our go.mod; the versions are those of the tools' go.mod.
func buildSuite(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "building-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }() // after the rename there is nothing to remove
	fmt.Fprintln(os.Stderr, "conformance: building", toolsModule, toolsVersion)
	mod := "module conformance.invalid\n\ngo 1.21\n\nrequire " + toolsModule + " " + toolsVersion + "\n"
	if err = os.WriteFile(filepath.Join(scratch, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	module, err := goCommand(scratch, "list", "-mod=mod", "-m", "-f", "{{.Dir}}", toolsModule)
	if err == nil && module == "" {
		_, err = goCommand(scratch, "mod", "download", toolsModule)
		if err == nil {
			module, err = goCommand(scratch, "list", "-mod=mod", "-m", "-f", "{{.Dir}}", toolsModule)
		}
	}
	if err != nil {
		return err
	}
	packages, err := validationPackages(module)
	if err != nil {
		return err
	}
	runtimetest := path.Join(toolsModule, "cmd/runtimetest")
	if _, err = goCommand(scratch, append([]string{"get"}, packages[0], runtimetest)...); err != nil {
		return err
	}
	build := []string{"build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o"}
	if _, err = goCommand(scratch, append(append(build, "bin/"), packages...)...); err != nil {
		return err
	}
	if _, err = goCommand(scratch, append(build, "runtimetest", runtimetest)...); err != nil {
		return err
	}
	archive := "rootfs-" + runtime.GOARCH + ".tar.gz"
	data, err := os.ReadFile(filepath.Join(module, archive))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(scratch, archive), data, 0o644); err != nil {
		return err
	}
	return os.Rename(scratch, dir)
}

// validationPackages lists the main packages under the module's validation folder.
func validationPackages(module string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(module, "validation"))
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "util" {
			packages = append(packages, path.Join(toolsModule, "validation", entry.Name()))
		}
	}
	if len(packages) != programCount {
		return nil, fmt.Errorf("%s %s has %d validation programs, want %d", toolsModule, toolsVersion, len(packages), programCount)
	}
	return packages, nil
}

// goCommand runs the go tool in dir and returns its trimmed output. The programs are static, as their Makefile builds
// runtimetest, because they run inside a root file system without a C library.
func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
