package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/go-connections/tlsconfig"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Folders are where plugins are looked for, those that come first win.
type Folders struct {
	// Sockets has NAME.sock, or NAME/NAME.sock.
	Sockets string
	// Specs have NAME.spec with an address, or NAME.json with an address and TLS.
	Specs []string
}

// Usual are the folders of every engine on a machine.
func Usual() Folders {
	return Folders{Sockets: "/run/docker/plugins", Specs: []string{"/etc/docker/plugins", "/usr/lib/docker/plugins"}}
}

// address is where a plugin answers.
type address struct {
	Addr      string
	TLSConfig *tlsconfig.Options
}

// find looks a plugin up by its name.
func (f Folders) find(name string) (address, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, filepath.Separator) {
		return address{}, fault.Errorf(errdefs.ErrInvalidArgument, "invalid plugin name: %q", name)
	}
	for _, path := range places(f.Sockets, name, ".sock") {
		if fi, err := os.Stat(path); err == nil && fi.Mode().Type() == fs.ModeSocket {
			return address{Addr: "unix://" + path}, nil
		}
	}
	for _, dir := range f.Specs {
		for _, path := range append(places(dir, name, ".spec"), places(dir, name, ".json")...) {
			a, err := read(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return address{}, fmt.Errorf("plugin %s: %s: %w", name, path, err)
			}
			return a, nil
		}
	}
	return address{}, fault.Errorf(errdefs.ErrNotFound, "plugin %q not found", name)
}

func places(dir, name, ext string) []string {
	return []string{filepath.Join(dir, name+ext), filepath.Join(dir, name, name+ext)}
}

// read understands a file that describes a plugin.
func read(path string) (a address, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return a, err
	}
	a.Addr = strings.TrimSpace(string(b))
	if filepath.Ext(path) == ".json" {
		a.Addr = ""
		if err := json.Unmarshal(b, &a); err != nil {
			return a, err
		}
	}
	u, err := url.Parse(a.Addr)
	if err != nil {
		return a, err
	}
	switch u.Scheme {
	case "unix", "tcp", "http", "https":
		return a, nil
	case "":
		return a, errors.New("unknown protocol")
	}
	return a, fmt.Errorf("unknown protocol %q", u.Scheme)
}
