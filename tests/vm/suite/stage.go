package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// staging is the tree that the machine will get.
type staging struct {
	ctx        context.Context
	top, stage string
}

const buildTags = "urfave_cli_no_docs"

// compile builds a package's tests, and lets them build the programs they want.
func (s *staging) compile(name string) error {
	dir := filepath.Join(s.stage, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	test := filepath.Join(dir, "vm.test")
	if err := s.command(s.top, "go", "test", "-tags", buildTags, "-ldflags", "-s -w", "-c", "-o", test, "./"+name); err != nil {
		return err
	}
	if err := s.copyIn(name, "testdata"); err != nil {
		return err
	}
	return s.command(filepath.Join(s.top, name), test, "-test.run=^$")
}

// copyIn copies a package's directory, if it has one of that name.
func (s *staging) copyIn(name, sub string) error {
	from := filepath.Join(s.top, name, sub)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(s.stage, name, sub), os.DirFS(from))
}

// addTree adds what the harness looks for from the top of the tree, and test2json.
func (s *staging) addTree() error {
	for _, name := range []string{"go.mod", "bin/runc", "hack/make-bundle"} {
		if err := s.command(s.top, "install", "-D", "-m", "0755", name, filepath.Join(s.stage, name)); err != nil {
			return err
		}
	}
	return s.command(s.top, "go", "build", "-o", filepath.Join(s.stage, "bin", "test2json"), "cmd/test2json")
}

func (s *staging) command(dir, name string, args ...string) error {
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GANTRY_PREBUILT="+filepath.Join(s.stage, "prebuilt"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}
