package introspection

import (
	"path/filepath"
	"slices"
	"strings"

	api "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/platforms"
)

// tasks is the part that runs tasks: BuildKit and dockerd look for its type.
const tasks = "io.containerd.runtime.v2.task"

// Plugin is one of the parts that clients know containerd's by.
type Plugin = api.Plugin

// Snapshotter is what clients choose a snapshotter by.
type Snapshotter struct {
	Name         string
	Exports      map[string]string
	Capabilities []string
}

// Facts are what the list of plugins depends on.
type Facts struct {
	Root         string
	Isolated     bool // content is not shared between namespaces
	Snapshotters []Snapshotter
}

// Plugins is the list of parts that clients know containerd's by. There are no plugins behind it: each stands for code
// of this manager that does the same, and a plugin of containerd's that has no such code is not in the list.
func Plugins(f Facts) []*api.Plugin {
	policy := "shared"
	if f.Isolated {
		policy = "isolated"
	}
	list := []*api.Plugin{
		{
			Type: "io.containerd.content.v1", ID: "content",
			Exports: map[string]string{"root": filepath.Join(f.Root, "io.containerd.content.v1.content")},
		},
		{Type: "io.containerd.event.v1", ID: "exchange"},
		{Type: "io.containerd.warning.v1", ID: "deprecations"},
		{
			Type: "io.containerd.metadata.v1", ID: "bolt",
			Requires: []string{"io.containerd.content.v1", "io.containerd.event.v1", "io.containerd.snapshotter.v1"},
			Exports: map[string]string{
				"policy": policy,
				"path":   filepath.Join(f.Root, "io.containerd.metadata.v1.bolt", "meta.db"),
			},
		},
		{Type: "io.containerd.gc.v1", ID: "scheduler", Requires: []string{"io.containerd.metadata.v1"}},
		{
			Type: "io.containerd.differ.v1", ID: "walking", Platforms: here(),
			Requires: []string{"io.containerd.metadata.v1", "io.containerd.mount-manager.v1"},
		},
		{Type: "io.containerd.mount-manager.v1", ID: "bolt", Requires: []string{"io.containerd.metadata.v1"}},
		{Type: "io.containerd.lease.v1", ID: "manager", Requires: []string{"io.containerd.metadata.v1", "io.containerd.gc.v1"}},
		{Type: "io.containerd.sandbox.store.v1", ID: "local", Requires: []string{"io.containerd.metadata.v1"}},
		{Type: "io.containerd.streaming.v1", ID: "manager", Requires: []string{"io.containerd.metadata.v1"}},
		{
			Type: "io.containerd.transfer.v1", ID: "local",
			Requires: []string{"io.containerd.lease.v1", "io.containerd.metadata.v1", "io.containerd.differ.v1", "io.containerd.snapshotter.v1"},
		},
		{Type: "io.containerd.shim.v1", ID: "manager", Requires: []string{"io.containerd.event.v1", "io.containerd.metadata.v1"}},
		{
			Type: "io.containerd.runtime.v2", ID: "task", Platforms: here(),
			Requires: []string{"io.containerd.shim.v1", "io.containerd.mount-manager.v1"},
			// What shims take as stdout: clients choose a logger by it.
			Exports: map[string]string{"log-uri-schemes": "fifo,binary,binary-v2,file"},
		},
		{
			Type: "io.containerd.monitor.container.v1", ID: "restart", Requires: []string{"io.containerd.event.v1"},
			Capabilities: []string{"no", "always", "on-failure", "unless-stopped"},
		},
		{Type: "io.containerd.server.v1", ID: "grpc", Requires: []string{"io.containerd.grpc.v1"}},
		{Type: "io.containerd.server.v1", ID: "ttrpc", Requires: []string{"io.containerd.grpc.v1"}},
	}
	for _, s := range f.Snapshotters {
		list = append(list, &api.Plugin{
			Type: "io.containerd.snapshotter.v1", ID: s.Name, Platforms: here(),
			Exports: s.Exports, Capabilities: s.Capabilities,
		})
	}
	for _, name := range []string{
		"containers", "content", "diff", "events", "healthcheck", "images", "introspection", "leases", "mounts",
		"namespaces", "sandboxes", "snapshots", "streaming", "tasks", "transfer", "version",
	} {
		list = append(list, &api.Plugin{Type: "io.containerd.grpc.v1", ID: name})
	}
	slices.SortStableFunc(list, func(a, b *api.Plugin) int {
		return strings.Compare(a.Type+"."+a.ID, b.Type+"."+b.ID)
	})
	return list
}

// here is the machine's platform.
func here() []*types.Platform {
	p := platforms.DefaultSpec()
	return []*types.Platform{{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}}
}
