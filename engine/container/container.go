package container

import (
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/user"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Container is the record of one container. What Store hands out is a snapshot that nobody may change: changes go
// through Store.Update, on a copy.
type Container struct {
	// ID is 64 hexadecimal digits.
	ID string
	// Name has no slash in front.
	Name    string
	Created time.Time
	Image   Image
	// Path and Args are what runs: entrypoint and command, resolved against the image.
	Path string
	Args []string
	// Config and HostConfig are what the client asked for, completed by the image and the engine's defaults.
	Config     *api.Config
	HostConfig *api.HostConfig
	// Endpoints are the networks that it is in, by name, as asked for; what they became when running is in them as well.
	Endpoints map[string]*network.EndpointSettings
	Mounts    []Mount
	// Snapshotter keeps the root; the key of the snapshot is ID.
	Snapshotter string
	// Platform of the image variant that it was made from.
	Platform ocispec.Platform
	// AppArmorProfile, ProcessLabel and MountLabel are what it runs under; empty when the machine has none.
	AppArmorProfile, ProcessLabel, MountLabel string
	// IDs are whose ids on the host its users have; empty when they are the host's.
	IDs user.IdentityMapping `json:",omitzero"`
	// StopRequested says that a client stopped it: restart policies "unless-stopped" and "always" read it.
	StopRequested bool
	// Started says that it ran at least once.
	Started bool
	// RestartCount is the number of restarts by its policy since a client started it.
	RestartCount int
	State        State
}

// Image is what a container was made from.
type Image struct {
	// Name as the client typed it.
	Name string
	// Ref is the full reference that this meant; empty when it was an id.
	Ref string `json:",omitempty"`
	// Target is what the image's name pointed to: an index or a manifest. Its digest is Docker's image id.
	Target ocispec.Descriptor
	// Manifest is the variant for the container's platform.
	Manifest ocispec.Descriptor
}

// Mount is one place in the container that is not its root.
type Mount struct {
	// Type is bind, volume, tmpfs, image.
	Type mount.Type
	// Name of the volume; Driver that keeps it.
	Name, Driver string
	// Source on the host; empty for tmpfs, and for volumes until they are mounted.
	Source string
	// Destination in the container, clean and absolute.
	Destination string
	// Mode as it was written in a bind ("ro,z"); RW is what it says.
	Mode        string
	RW          bool
	Propagation mount.Propagation
	// Spec is what the client asked for by Mounts, or what a bind means in its terms.
	Spec mount.Mount
	// Anonymous says that the volume got its name by the engine, and goes with the container.
	Anonymous bool
	// CopyUp says that an empty volume is filled from the image.
	CopyUp bool
}

// State is what became of a container.
type State struct {
	Status Status
	// Paused and Restarting go along with Running, as Docker tells them.
	Pid       int
	ExitCode  int
	OOMKilled bool
	// Error is the reason why the last start failed.
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	// RemovalInProgress says that a remove has begun; after a crash it is gone on with.
	RemovalInProgress bool
	// RemoveVolumes says that the removal takes its anonymous volumes along.
	RemoveVolumes bool
	// Held says that the engine itself paused it for a moment; the next engine lets it go on.
	Held bool `json:",omitempty"`
	// Health is nil without a health check.
	Health *api.Health
}

// Status is one of Docker's words.
type Status string

// What a container can be.
const (
	Created    Status = "created"
	Running    Status = "running"
	Paused     Status = "paused"
	Restarting Status = "restarting"
	Exited     Status = "exited"
	Dead       Status = "dead"
)

// Running says that there are processes: running or paused. A container that waits for its restart has none.
func (s State) Running() bool { return s.Status == Running || s.Status == Paused }
