package cni

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// The names by which BuildKit runs this program. It asks for loopback itself.
const (
	pluginName   = "gantry-bridge"
	loopbackName = "loopback"
)

// version is the specification's that the configuration follows.
const version = "1.0.0"

// config is what the plug-in reads: BuildKit gives it what Install has written.
type config struct {
	Version string `json:"cniVersion,omitempty"`
	Name    string `json:"name,omitempty"`
	Type    string `json:"type,omitempty"`
	// Engine is the socket to ask.
	Engine string `json:"engine,omitempty"`
}

// Installed is what BuildKit has to be told.
type Installed struct {
	// Config is a file, Programs a folder.
	Config, Programs string
}

// Install shows a program to BuildKit as its plug-in, in a folder: it will ask the engine that listens at a socket. What
// an engine before has left there is replaced.
func Install(dir, program, socket string) (Installed, error) {
	in := Installed{Config: filepath.Join(dir, "bridge.conf"), Programs: filepath.Join(dir, "bin")}
	if err := os.MkdirAll(in.Programs, 0o700); err != nil {
		return in, err
	}
	// No list of plug-ins: BuildKit would call the device eth1.
	b, err := json.Marshal(config{Version: version, Name: "gantry", Type: pluginName, Engine: socket})
	if err != nil {
		return in, err
	}
	errs := []error{os.WriteFile(in.Config, b, 0o600)}
	for _, name := range []string{pluginName, loopbackName} {
		errs = append(errs, link(program, filepath.Join(in.Programs, name)))
	}
	return in, errors.Join(errs...)
}

// link makes a symbolic link, or replaces one: at no time is there none.
func link(to, path string) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}
