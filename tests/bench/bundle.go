package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// specJSON is config.json as `runc spec` of runc 1.1.5 writes it.
//
//go:embed testdata/spec.json
var specJSON []byte

// seccompJSON is the linux.seccomp object of Docker's default profile.
//
//go:embed testdata/seccomp-docker.json
var seccompJSON []byte

// change is one value to put into a spec, and the keys on the way to it.
type change struct {
	keys  []string
	value any
}

// makeRootfs makes a root file system that holds a static busybox.
func makeRootfs(dir, busybox string) error {
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, name := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"sh", "sleep", "true"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// makeBundle writes a bundle that shares a root file system. ociVersion is the newest that every side accepts.
func makeBundle(dir, rootfs string, args []string, changes ...change) error {
	var spec map[string]any
	if err := json.Unmarshal(specJSON, &spec); err != nil {
		return err
	}
	changes = append([]change{
		{[]string{"ociVersion"}, "1.0.2"},
		{[]string{"process", "terminal"}, false},
		{[]string{"process", "args"}, args},
		{[]string{"root", "path"}, rootfs},
	}, changes...)
	for _, c := range changes {
		if err := put(spec, c); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644)
}

func put(spec map[string]any, c change) error {
	last := len(c.keys) - 1
	for _, key := range c.keys[:last] {
		next, ok := spec[key].(map[string]any)
		if !ok {
			return fmt.Errorf("spec has no object %q", key)
		}
		spec = next
	}
	spec[c.keys[last]] = c.value
	return nil
}

// seccompChange adds Docker's default seccomp profile.
func seccompChange() (change, error) {
	var profile map[string]any
	if err := json.Unmarshal(seccompJSON, &profile); err != nil {
		return change{}, fmt.Errorf("testdata/seccomp-docker.json: %w", err)
	}
	return change{[]string{"linux", "seccomp"}, profile}, nil
}

// memoryChange limits memory and swap together to a number of bytes.
func memoryChange(bytes int64) change {
	return change{[]string{"linux", "resources", "memory"}, map[string]int64{"limit": bytes, "swap": bytes}}
}
