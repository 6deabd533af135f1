package oci

import (
	"os"
	"path/filepath"

	"github.com/gantry-containers/gantry/shim/api/options"
)

const (
	defaultName = "runc"
	// defaultRoot is where every shim for runc keeps the states: a container of one can be deleted by another.
	defaultRoot = "/run/containerd/runc"
)

// For is the runtime that the options ask for, for a container in this namespace; log is its Log. By default it is
// the runc beside the shim's own binary, else that in PATH. It runs in the log's folder, the bundle.
func For(o *options.Options, namespace, log string) *Runtime {
	r := &Runtime{Binary: o.GetBinaryName(), Root: o.GetRoot(), Log: log, Dir: filepath.Dir(log), SystemdCgroup: o.GetSystemdCgroup()}
	if r.Binary == "" {
		r.Binary = beside(defaultName)
	}
	if r.Root == "" {
		r.Root = defaultRoot
	}
	r.Root = filepath.Join(r.Root, namespace)
	return r
}

func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	path := filepath.Join(filepath.Dir(self), name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return name
	}
	return path
}
