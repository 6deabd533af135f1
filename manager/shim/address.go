package shim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"

	"github.com/gantry-containers/gantry/manager/bundle"
)

// defaultSocketDir is where shims put their sockets that cannot be told another place.
const defaultSocketDir = "/run/containerd/s"

// socketDir is where the shim of a bundle shall put its socket: beside the bundles of the state directory, if that is
// short enough for one that is named by a SHA-256 in hexadecimal.
func (l *Launcher) socketDir(b *bundle.Bundle) string {
	if l.config.SocketDir != "" {
		return l.config.SocketDir
	}
	state := filepath.Dir(filepath.Dir(filepath.Dir(b.Path)))
	if dir := filepath.Join(state, "s"); len(dir)+1+2*sha256.Size <= maxPath {
		return dir
	}
	return defaultSocketDir
}

// groupAnnotations are those of config.json by which containers share a shim.
var groupAnnotations = []string{"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"}

// usualAddress is where shims of all generations listen. A manager that was killed between the start of a shim and its
// answer finds it there.
func (l *Launcher) usualAddress(b *bundle.Bundle) []*bootapi.BootstrapResult {
	name := b.ID
	var config struct {
		Annotations map[string]string `json:"annotations"`
	}
	if data, err := os.ReadFile(filepath.Join(b.Path, "config.json")); err == nil && json.Unmarshal(data, &config) == nil {
		for _, key := range groupAnnotations {
			if group, ok := config.Annotations[key]; ok {
				name = group
				break
			}
		}
	}
	var all []*bootapi.BootstrapResult
	for _, dir := range l.socketDirs(b) {
		all = append(all, &bootapi.BootstrapResult{
			Version: 3, Address: addressIn(dir, l.config.Address, b.Namespace, name), Protocol: transport,
		})
	}
	return all
}

// socketDirs are those where the bundle's shim may have its socket, one of an old generation in the last.
func (l *Launcher) socketDirs(b *bundle.Bundle) []string {
	return []string{l.socketDir(b), defaultSocketDir}
}

// addressIn is where a shim listens that is told of this manager.
func addressIn(dir, manager, namespace, name string) string {
	sum := sha256.Sum256([]byte(filepath.Join(manager, namespace, name)))
	return fmt.Sprintf("unix://%s/%x", dir, sum)
}
