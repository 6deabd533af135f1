package bundle

import (
	"encoding/json"
	"fmt"
	"os"
)

// Config is what the shim itself wants to know of config.json (runtime-spec, config.md).
type Config struct {
	Annotations map[string]string
	Root        struct{ Path string }
	Process     struct{ Terminal bool }
	Hooks       *struct{} // there are some; which ones is the runtime's affair
	Linux       struct {
		Namespaces []struct{ Type, Path string }
	}
}

// Config reads config.json.
func (b *Bundle) Config() (*Config, error) {
	file := b.file("config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &c, nil
}

// PrivatePIDs says that the container has a pid namespace of its own: the kernel ends all its processes with the
// first. Where it shares one, the shim has to end them.
func (c *Config) PrivatePIDs() bool { return c.private("pid") }

// private says that the container gets a new namespace of a kind, and neither joins one nor stays in ours.
func (c *Config) private(kind string) bool {
	for _, ns := range c.Linux.Namespaces {
		if ns.Type == kind {
			return ns.Path == ""
		}
	}
	return false
}

// brief is the annotation of who needs the rootfs in the bundle only until the container is created
// (docs/decisions/0047-brief-rootfs.md).
const brief = "io.gantry.rootfs.brief"

// BriefRootfs says that the rootfs need not stay mounted in the bundle once the container has been created: that was
// asked for, the container has the mount in a namespace of its own, and no hook may come to look for it.
func (c *Config) BriefRootfs() bool {
	return c.Annotations[brief] == "true" && c.Hooks == nil && c.private("mount")
}

// groups are the annotations that name the containers which share a shim; the first that is there counts.
var groups = []string{"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"}

// Group is the name of the shim's containers together, or the id of the only one.
func (c *Config) Group(id string) string {
	for _, name := range groups {
		if group, ok := c.Annotations[name]; ok {
			return group
		}
	}
	return id
}
