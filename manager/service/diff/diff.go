package diff

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
)

// Service answers requests about layers.
type Service struct {
	api.UnimplementedDiffServer
	comparer diff.Comparer
	applier  diff.Applier
}

// New makes the service.
func New(comparer diff.Comparer, applier diff.Applier) *Service {
	return &Service{comparer: comparer, applier: applier}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterDiffServer(server, s) }

// Apply unpacks a layer from the content store onto mounts, and answers with the descriptor of the layer unpacked.
func (s *Service) Apply(ctx context.Context, r *api.ApplyRequest) (*api.ApplyResponse, error) {
	if r.Diff == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("diff required: %w", errdefs.ErrInvalidArgument))
	}
	desc := oci.DescriptorFromProto(r.Diff)
	if err := desc.Digest.Validate(); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("diff %q: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument))
	}
	opts := []diff.ApplyOpt{diff.WithSyncFs(r.SyncFs)}
	if r.Payloads != nil {
		payloads := make(map[string]typeurl.Any, len(r.Payloads))
		for name, value := range r.Payloads {
			payloads[name] = value
		}
		opts = append(opts, diff.WithPayloads(payloads))
	}
	applied, err := s.applier.Apply(ctx, desc, mount.FromProto(r.Mounts), opts...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ApplyResponse{Applied: oci.DescriptorToProto(applied)}, nil
}

// Diff makes a layer of what changed from the left mounts to the right, and answers with its descriptor.
func (s *Service) Diff(ctx context.Context, r *api.DiffRequest) (*api.DiffResponse, error) {
	var opts []diff.Opt
	if r.MediaType != "" {
		opts = append(opts, diff.WithMediaType(r.MediaType))
	}
	if r.Ref != "" {
		opts = append(opts, diff.WithReference(r.Ref))
	}
	if r.Labels != nil {
		opts = append(opts, diff.WithLabels(r.Labels))
	}
	if r.SourceDateEpoch != nil {
		if err := r.SourceDateEpoch.CheckValid(); err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("source date epoch: %w: %w", err, errdefs.ErrInvalidArgument))
		}
		at := r.SourceDateEpoch.AsTime()
		opts = append(opts, diff.WithSourceDateEpoch(&at))
	}
	made, err := s.comparer.Compare(ctx, mount.FromProto(r.Left), mount.FromProto(r.Right), opts...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.DiffResponse{Diff: oci.DescriptorToProto(made)}, nil
}
