package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-containers/gantry/shim/api/cri"
	"github.com/gantry-containers/gantry/shim/api/types"
	mounting "github.com/gantry-containers/gantry/shim/mount"
)

// files are what the containers of the CRI plugin's pods share beside namespaces. The plugin makes them for its own
// sandboxes, and leaves them to the shim that has a service for them.
type files struct {
	resolvConf string
	hostname   string
	shm        bool // they have a /dev/shm together, as they have an ipc namespace
}

// filesFor makes the contents (resolv.conf(5), hostname(5)).
func filesFor(config *cri.PodSandboxConfig, w *wishes) (*files, error) {
	f := &files{hostname: w.Hostname, shm: w.hasNamespace("ipc")}
	if f.hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		f.hostname = name
	}
	dns := config.GetDnsConfig()
	if dns == nil {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		f.resolvConf = string(text)
		return f, nil
	}
	if searches := dns.GetSearches(); len(searches) > 0 {
		f.resolvConf += "search " + strings.Join(searches, " ") + "\n"
	}
	for _, server := range dns.GetServers() {
		f.resolvConf += "nameserver " + server + "\n"
	}
	if options := dns.GetOptions(); len(options) > 0 {
		f.resolvConf += "options " + strings.Join(options, " ") + "\n"
	}
	return f, nil
}

// shmOptions are those of the CRI plugin's.
var shmOptions = []string{"nosuid", "nodev", "noexec", "mode=1777", "size=65536k"}

// makeFiles makes them in the bundle. The shared memory is on the bundle's rootfs, which has no other use: whoever
// removes the bundle unmounts it.
func (p *pod) makeFiles() error {
	f := p.wishes.files
	if f == nil {
		return nil
	}
	for name, content := range map[string]string{"resolv.conf": f.resolvConf, "hostname": f.hostname + "\n"} {
		if err := os.WriteFile(filepath.Join(p.folder(), name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if !f.shm {
		return nil
	}
	return mounting.All([]*types.Mount{{Type: "tmpfs", Source: "shm", Options: shmOptions}}, p.bundle.Rootfs())
}

// Furnish adds the pod's files to the config.json of a container that is about to be created: dir is its bundle, in
// which the daemon notes the sandbox. What the client mounts itself stays.
func (s *Service) Furnish(dir string) error {
	id, err := os.ReadFile(filepath.Join(dir, "sandbox"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := s.find(string(id))
	if err != nil || p.wishes.files == nil {
		return nil //nolint:nilerr // a sandbox that has gone, or another shim's, has nothing to give
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if text, err = p.addMounts(text); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, text, 0o600)
}

// addMounts changes nothing of a spec but its mounts, and does not look at what it need not know.
func (p *pod) addMounts(text []byte) ([]byte, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	var known struct {
		Root   root
		Mounts []mount
	}
	var mounts []json.RawMessage
	err := json.Unmarshal(text, &known)
	if raw := config["mounts"]; err == nil && raw != nil {
		err = json.Unmarshal(raw, &mounts)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range p.sharedMounts(known.Root.Readonly) {
		raw, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(known.Mounts, func(has mount) bool { return filepath.Clean(has.Destination) == m.Destination })
		switch {
		case at < 0:
			mounts = append(mounts, raw)
		case known.Mounts[at].Type == "tmpfs": // a private one: the default
			mounts[at] = raw
		}
	}
	if config["mounts"], err = json.Marshal(mounts); err != nil {
		return nil, err
	}
	return json.Marshal(config)
}

// sharedMounts are the mounts of the pod's files in a container.
func (p *pod) sharedMounts(readonly bool) []mount {
	access := "rw"
	if readonly {
		access = "ro"
	}
	list := []mount{
		{"/etc/resolv.conf", "bind", filepath.Join(p.folder(), "resolv.conf"), []string{"rbind", "rprivate", access}},
		{"/etc/hostname", "bind", filepath.Join(p.folder(), "hostname"), []string{"rbind", "rprivate", access}},
	}
	if p.wishes.files.shm {
		list = append(list, mount{"/dev/shm", "bind", p.bundle.Rootfs(), []string{"rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"}})
	}
	return list
}
