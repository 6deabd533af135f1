package build

import (
	"io"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
)

// Request is what a client asks for.
type Request struct {
	// Context is a tar archive, compressed or not, unless Remote is an address.
	Context io.Reader
	// Remote is a URL of a Dockerfile, of an archive, or of a git repository.
	Remote string
	// Dockerfile is a path in the context; "Dockerfile" when empty.
	Dockerfile string
	// Target is the stage to end with, by name or number; empty for the last.
	Target string
	// Tags are names for the image.
	Tags []string
	// Args are the build's arguments; nil for one that is named without a value.
	Args map[string]*string
	// Labels are added to the image.
	Labels map[string]string
	// Platform of base images, as "linux/arm64"; empty for this machine's.
	Platform string
	// CacheFrom names images whose history counts as cache.
	CacheFrom []string
	// NoCache builds every step anew; Pull asks registries for newer base images.
	NoCache, Pull bool
	// Remove takes the containers of steps away when a step succeeded, ForceRemove always.
	Remove, ForceRemove bool
	// Squash would make one layer of all; as with moby's image store, it fails when all is built.
	Squash bool
	// Auths are the client's credentials by registry.
	Auths map[string]registry.AuthConfig
	// NoAux is for clients that do not know values in the stream.
	NoAux bool

	Limits
}

// Limits is how the containers of steps run.
type Limits struct {
	// Network is a network mode; the default one when empty.
	Network    string
	ExtraHosts []string
	// ShmSize is in bytes; 0 for the default.
	ShmSize   int64
	Resources api.Resources
	Isolation api.Isolation
}

// hostConfig is that of the containers of steps. Their output goes to the client alone.
func (l Limits) hostConfig() *api.HostConfig {
	mode := l.Network
	if mode == "" || mode == network.NetworkDefault {
		mode = network.NetworkBridge
	}
	return &api.HostConfig{
		NetworkMode: api.NetworkMode(mode), ExtraHosts: l.ExtraHosts, ShmSize: l.ShmSize, Resources: l.Resources,
		Isolation: l.Isolation, LogConfig: api.LogConfig{Type: "none"},
	}
}
