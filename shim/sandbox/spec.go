package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// spec is config.json (runtime-spec, config.md), as far as a process needs it that does nothing.
type spec struct {
	Version string  `json:"ociVersion"`
	Process process `json:"process"`
	Root    root    `json:"root"`
	Mounts  []mount `json:"mounts"`
	wishes
}

// wishes are the fields that a client decides on.
type wishes struct {
	Hostname    string            `json:"hostname,omitempty"`
	Domainname  string            `json:"domainname,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Linux       linux             `json:"linux"`

	parentCgroup bool   // CgroupsPath is below the pod's cgroup
	files        *files // that the containers get; nil for none
}

type process struct {
	Args            []string `json:"args"`
	Cwd             string   `json:"cwd"`
	User            user     `json:"user"`
	Capabilities    struct{} `json:"capabilities"`
	NoNewPrivileges bool     `json:"noNewPrivileges"`
}

type user struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

type root struct {
	Path     string `json:"path"`
	Readonly bool   `json:"readonly"`
}

type mount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

type linux struct {
	Namespaces  []namespace       `json:"namespaces,omitempty"`
	UIDMappings []idMapping       `json:"uidMappings,omitempty"`
	GIDMappings []idMapping       `json:"gidMappings,omitempty"`
	Sysctl      map[string]string `json:"sysctl,omitempty"`
	CgroupsPath string            `json:"cgroupsPath,omitempty"`
	Resources   json.RawMessage   `json:"resources,omitempty"`
}

type namespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

type idMapping struct {
	ContainerID uint32 `json:"containerID"`
	HostID      uint32 `json:"hostID"`
	Size        uint32 `json:"size"`
}

// readWishes takes from the bundle's config.json what counts; fs.ErrNotExist where there is none.
func readWishes(bundle string) (*wishes, error) {
	file := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var w wishes
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &w, nil
}

// defaultWishes are those of a client that says nothing. The network is the host's, unless one is named.
func defaultWishes() *wishes {
	w := &wishes{}
	for _, kind := range []string{"ipc", "uts", "pid"} {
		w.setNamespace(kind, "")
	}
	return w
}

// setNamespace gives the pod a namespace: a new one, or that of the path.
func (w *wishes) setNamespace(kind, path string) {
	w.dropNamespace(kind)
	w.Linux.Namespaces = append(w.Linux.Namespaces, namespace{kind, path})
}

// dropNamespace leaves the pod in the host's namespace.
func (w *wishes) dropNamespace(kind string) {
	w.Linux.Namespaces = slices.DeleteFunc(w.Linux.Namespaces, func(n namespace) bool { return n.Type == kind })
}

func (w *wishes) hasNamespace(kind string) bool {
	return slices.ContainsFunc(w.Linux.Namespaces, func(n namespace) bool { return n.Type == kind })
}

// nobody is the user of the pause process. In a user namespace, whose ids may be few, it is that one's root.
const nobody = 65535

// pauseSpec is the spec of the pause process, which is /pause in the folder rootfs.
func (w *wishes) pauseSpec() *spec {
	w.setNamespace("mount", "")
	s := &spec{
		Version: "1.0.2",
		Process: process{Args: []string{"/" + program}, Cwd: "/", User: user{nobody, nobody}, NoNewPrivileges: true},
		Root:    root{Path: rootfs, Readonly: true},
		Mounts: []mount{
			// The runtime writes sysctls there, and needs it for its own last steps.
			{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
			{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "noexec", "mode=755", "size=64k"}},
		},
		wishes: *w,
	}
	if w.hasNamespace("user") {
		s.Process.User = user{}
	}
	return s
}
