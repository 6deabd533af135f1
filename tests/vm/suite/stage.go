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

// fill compiles hack/vm's program and the packages, and copies what else is wanted.
func (s *staging) fill(packages []string) error {
	if err := s.command(s.top, "go", "build", "-o", machineProgram, "./tests/vm"); err != nil {
		return err
	}
	for _, p := range packages {
		if err := s.compile(p); err != nil {
			return err
		}
	}
	return s.addTree()
}

// machineProgram is what hack/vm builds and runs. Several boots at the same time must not
// build it anew.
const machineProgram = "bin/vm"

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

// tree is what tests look for from the top of the tree.
var tree = []string{
	"go.mod", "bin/runc", "bin/runc-wasm", "bin/containerd-shim-gantry-v2", "bin/gantry-manager", "hack/make-bundle",
	"tests/bench/testdata", "tests/compat/buildkit/testdata", "tests/compat/containerd/testdata", "tests/compat/docker/testdata",
	"libcontainer/plan/testdata",
}

func (s *staging) copyTree(list []string) error {
	return s.command(s.top, "cp", append(append([]string{"-r", "--parents"}, list...), s.stage)...)
}

// addTree adds the tree, and test2json.
func (s *staging) addTree() error {
	if err := s.copyTree(tree); err != nil {
		return err
	}
	return s.command(s.top, "go", "build", "-o", filepath.Join(s.stage, "bin", "test2json"), "cmd/test2json")
}

func (s *staging) command(dir, name string, args ...string) error {
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GANTRY_PREBUILT="+filepath.Join(s.stage, "prebuilt"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}
