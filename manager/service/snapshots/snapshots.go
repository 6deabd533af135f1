package snapshots

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// block is how many snapshots one message of a list has.
const block = 100

// Service answers requests about snapshots. Their events are the store's: it makes them for every other user, too.
type Service struct {
	api.UnimplementedSnapshotsServer
	snapshotters map[string]snapshots.Snapshotter
}

// New makes the service over snapshotters by name. The map may not change any more.
func New(snapshotters map[string]snapshots.Snapshotter) *Service {
	return &Service{snapshotters: snapshotters}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterSnapshotsServer(server, s) }

func (s *Service) snapshotter(name string) (snapshots.Snapshotter, error) {
	if name == "" {
		return nil, fmt.Errorf("snapshotter argument missing: %w", errdefs.ErrInvalidArgument)
	}
	found := s.snapshotters[name]
	if found == nil {
		return nil, fmt.Errorf("snapshotter not loaded: %s: %w", name, errdefs.ErrInvalidArgument)
	}
	return found, nil
}

// forNew is snapshotter for requests that make a snapshot, whose key and labels have to be ones that can be kept.
func (s *Service) forNew(snapshotter, key string, labels map[string]string) (snapshots.Snapshotter, error) {
	found, err := s.snapshotter(snapshotter)
	if err != nil {
		return nil, err
	}
	if err := names.Check("snapshot key", key); err != nil {
		return nil, err
	}
	return found, names.Keys("label", labels)
}

// Prepare makes a snapshot that can be written.
func (s *Service) Prepare(ctx context.Context, r *api.PrepareSnapshotRequest) (*api.PrepareSnapshotResponse, error) {
	sn, err := s.forNew(r.Snapshotter, r.Key, r.Labels)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	mounts, err := sn.Prepare(ctx, r.Key, r.Parent, labels(r.Labels)...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.PrepareSnapshotResponse{Mounts: mount.ToProto(mounts)}, nil
}

// View makes a snapshot that can be read only.
func (s *Service) View(ctx context.Context, r *api.ViewSnapshotRequest) (*api.ViewSnapshotResponse, error) {
	sn, err := s.forNew(r.Snapshotter, r.Key, r.Labels)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	mounts, err := sn.View(ctx, r.Key, r.Parent, labels(r.Labels)...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ViewSnapshotResponse{Mounts: mount.ToProto(mounts)}, nil
}

// Mounts answers with what has to be mounted to use a snapshot.
func (s *Service) Mounts(ctx context.Context, r *api.MountsRequest) (*api.MountsResponse, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	mounts, err := sn.Mounts(ctx, r.Key)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.MountsResponse{Mounts: mount.ToProto(mounts)}, nil
}

// Commit makes what was written into a snapshot with a name, from which others can be made.
func (s *Service) Commit(ctx context.Context, r *api.CommitSnapshotRequest) (*emptypb.Empty, error) {
	sn, err := s.forNew(r.Snapshotter, r.Name, r.Labels)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	opts := labels(r.Labels)
	if r.Parent != "" {
		opts = append(opts, snapshots.WithParent(r.Parent))
	}
	if err := sn.Commit(ctx, r.Name, r.Key, opts...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Remove removes a snapshot that no other is made from.
func (s *Service) Remove(ctx context.Context, r *api.RemoveSnapshotRequest) (*emptypb.Empty, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := sn.Remove(ctx, r.Key); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Stat answers with what is known of a snapshot.
func (s *Service) Stat(ctx context.Context, r *api.StatSnapshotRequest) (*api.StatSnapshotResponse, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	info, err := sn.Stat(ctx, r.Key)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.StatSnapshotResponse{Info: proxy.InfoToProto(info)}, nil
}

// Update changes the labels that the mask names; without a mask it replaces all.
func (s *Service) Update(ctx context.Context, r *api.UpdateSnapshotRequest) (*api.UpdateSnapshotResponse, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if r.Info == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("snapshot info required: %w", errdefs.ErrInvalidArgument))
	}
	if err := names.Keys("label", r.Info.Labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	info, err := sn.Update(ctx, proxy.InfoFromProto(r.Info), r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.UpdateSnapshotResponse{Info: proxy.InfoToProto(info)}, nil
}

// List sends the snapshots that match one of the filters, in blocks. They are read to the end before the first is sent,
// so that no slow client keeps a transaction open.
func (s *Service) List(r *api.ListSnapshotsRequest, stream api.Snapshots_ListServer) error {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	var all []*api.Info
	err = sn.Walk(stream.Context(), func(_ context.Context, info snapshots.Info) error {
		all = append(all, proxy.InfoToProto(info))
		return nil
	}, r.Filters...)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for len(all) > 0 {
		n := min(len(all), block)
		if err := stream.Send(&api.ListSnapshotsResponse{Info: all[:n]}); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// Usage answers with the space, in bytes, and the inodes that a snapshot uses itself, without those below it.
func (s *Service) Usage(ctx context.Context, r *api.UsageRequest) (*api.UsageResponse, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	usage, err := sn.Usage(ctx, r.Key)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return proxy.UsageToProto(usage), nil
}

// Cleanup removes directories that no snapshot uses any more, if the snapshotter can.
func (s *Service) Cleanup(ctx context.Context, r *api.CleanupRequest) (*emptypb.Empty, error) {
	sn, err := s.snapshotter(r.Snapshotter)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	cleaner, ok := sn.(snapshots.Cleaner)
	if !ok {
		return nil, errgrpc.ToGRPC(fmt.Errorf("snapshotter does not implement Cleanup method: %w", errdefs.ErrNotImplemented))
	}
	if err := cleaner.Cleanup(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func labels(l map[string]string) []snapshots.Opt {
	if l == nil {
		return nil
	}
	return []snapshots.Opt{snapshots.WithLabels(l)}
}
