package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hook is for config.json's hooks: it becomes the program of its arguments, with what they and the environment say of
// the container filled in: {{id}}, {{bundle}}, {{rootfs}}, {{pid}}, {{status}}, {{annotation "KEY"}}. A client puts
// it there that needs one of these as an argument, `ctr run --gpus` for one.
func hook(args []string, in io.Reader) error {
	if len(args) == 0 {
		return errors.New("oci-hook: there is no program to run")
	}
	var state specs.State
	if err := json.NewDecoder(in).Decode(&state); err != nil {
		return fmt.Errorf("oci-hook: state on stdin: %w", err)
	}
	root, err := rootfs(state.Bundle)
	if err != nil {
		return fmt.Errorf("oci-hook: %w", err)
	}
	fill := filler(state, root)
	for i := range args {
		if args[i], err = fill(args[i]); err != nil {
			return fmt.Errorf("oci-hook: %w", err)
		}
	}
	env := os.Environ()
	for i := range env {
		if filled, err := fill(env[i]); err == nil { // what is not ours to fill in stays
			env[i] = filled
		}
	}
	if err := unix.Exec(args[0], args, env); err != nil {
		return fmt.Errorf("oci-hook: %s: %w", args[0], err)
	}
	return nil
}

// rootfs reads where the container's root directory is.
func rootfs(bundle string) (string, error) {
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return "", err
	}
	var spec struct{ Root specs.Root }
	if err := json.Unmarshal(text, &spec); err != nil {
		return "", fmt.Errorf("%s/config.json: %w", bundle, err)
	}
	if filepath.IsAbs(spec.Root.Path) {
		return spec.Root.Path, nil
	}
	return filepath.Join(bundle, spec.Root.Path), nil
}

var place = regexp.MustCompile(`\{\{\s*([a-z]+)(?:\s+"([^"]*)")?\s*\}\}`)

// filler makes the function that replaces the places in a text. One with a name that is unknown is an error.
func filler(state specs.State, root string) func(string) (string, error) {
	values := map[string]string{
		"id": state.ID, "bundle": state.Bundle, "rootfs": root, "pid": strconv.Itoa(state.Pid), "status": string(state.Status),
	}
	return func(text string) (string, error) {
		var unknown string
		filled := place.ReplaceAllStringFunc(text, func(found string) string {
			parts := place.FindStringSubmatch(found)
			if parts[1] == "annotation" {
				return state.Annotations[parts[2]]
			}
			value, ok := values[parts[1]]
			if !ok {
				unknown = found
			}
			return value
		})
		if unknown != "" {
			return "", fmt.Errorf("%s in %q is unknown", unknown, text)
		}
		return filled, nil
	}
}
