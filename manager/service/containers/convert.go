package containers

import (
	api "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func toProto(c *containers.Container) *api.Container {
	extensions := make(map[string]*anypb.Any, len(c.Extensions))
	for name, value := range c.Extensions {
		extensions[name] = typeurl.MarshalProto(value)
	}
	return &api.Container{
		ID:          c.ID,
		Labels:      c.Labels,
		Image:       c.Image,
		Runtime:     &api.Container_Runtime{Name: c.Runtime.Name, Options: typeurl.MarshalProto(c.Runtime.Options)},
		Spec:        typeurl.MarshalProto(c.Spec),
		Snapshotter: c.Snapshotter,
		SnapshotKey: c.SnapshotKey,
		CreatedAt:   timestamppb.New(c.CreatedAt),
		UpdatedAt:   timestamppb.New(c.UpdatedAt),
		Extensions:  extensions,
		Sandbox:     c.SandboxID,
	}
}

// fromProto leaves a spec that is missing an empty one, which the store takes: containers that only hold an image or a
// snapshot have none, and containerd's service, by how it passes it on, allows that.
func fromProto(c *api.Container) containers.Container {
	extensions := make(map[string]typeurl.Any, len(c.Extensions))
	for name, value := range c.Extensions {
		extensions[name] = value
	}
	spec := c.Spec
	if spec == nil {
		spec = &anypb.Any{}
	}
	var options typeurl.Any // a nil interface if there are none: a nil pointer in it would be taken for options
	if given := c.GetRuntime().GetOptions(); given != nil {
		options = given
	}
	return containers.Container{
		ID:          c.ID,
		Labels:      c.Labels,
		Image:       c.Image,
		Runtime:     containers.RuntimeInfo{Name: c.GetRuntime().GetName(), Options: options},
		Spec:        spec,
		Snapshotter: c.Snapshotter,
		SnapshotKey: c.SnapshotKey,
		Extensions:  extensions,
		SandboxID:   c.Sandbox,
	}
}
