package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// loaded is the package that gets the code, and what its types may come from.
type loaded struct {
	local    *types.Package
	importer types.Importer
}

// load type-checks the package in dir without its generated file, so errors in it
// (calls of functions that are not written yet) don't matter. Imported packages
// come as export data from the go command.
func load(dir, generated string, names []string) (*loaded, error) {
	path, files, err := listPackage(dir)
	if err != nil {
		return nil, err
	}
	packages := []string{path}
	for _, name := range names {
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			packages = append(packages, name[:i])
		}
	}
	exports, err := listExports(dir, packages)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, file := range files {
		if file == generated {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	lookup := func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	}
	from := importer.ForCompiler(fset, "gc", lookup)
	check := types.Config{Importer: from, IgnoreFuncBodies: true, Error: func(error) {}}
	local, err := check.Check(path, fset, parsed, nil)
	if local == nil {
		return nil, err
	}
	return &loaded{local, from}, nil
}

// listPackage returns the import path and the Go files of the package in dir.
func listPackage(dir string) (path string, files []string, err error) {
	out, err := golist(dir, "-e", "-f", "{{.ImportPath}}{{range .GoFiles}}\n{{.}}{{end}}", ".")
	if err != nil {
		return "", nil, err
	}
	lines := strings.Fields(out)
	return lines[0], lines[1:], nil
}

// listExports maps the dependencies of packages to their export data files.
func listExports(dir string, packages []string) (map[string]string, error) {
	args := append([]string{"-e", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}"}, packages...)
	out, err := golist(dir, args...)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for line := range strings.FieldsSeq(out) {
		path, file, _ := strings.Cut(line, "=")
		exports[path] = file
	}
	return exports, nil
}

func golist(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("go list: %s", exit.Stderr)
	}
	return string(out), err
}

// find returns the named struct type for Name or import/path.Name.
func (l *loaded) find(name string) (*types.Named, error) {
	pkg := l.local
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		var err error
		if pkg, err = l.importer.Import(name[:i]); err != nil {
			return nil, err
		}
		name = name[i+1:]
	}
	object := pkg.Scope().Lookup(name)
	if object == nil {
		return nil, fmt.Errorf("%s has no type %s", pkg.Path(), name)
	}
	named, ok := types.Unalias(object.Type()).(*types.Named)
	if !ok {
		return nil, fmt.Errorf("%s.%s is not a defined type", pkg.Path(), name)
	}
	if _, ok := named.Underlying().(*types.Struct); !ok {
		return nil, fmt.Errorf("%s.%s is not a struct", pkg.Path(), name)
	}
	return named, nil
}
