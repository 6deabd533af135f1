package mounts

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/mounts/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/mount/proxy"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// Service answers requests about mounts that the manager makes for its clients.
type Service struct {
	api.UnimplementedMountsServer
	manager mount.Manager
}

// New makes the service.
func New(manager mount.Manager) *Service { return &Service{manager: manager} }

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterMountsServer(server, s) }

// Activate mounts what the client's kernel cannot mount by itself, under a name, and answers with what is left for it.
func (s *Service) Activate(ctx context.Context, r *api.ActivateRequest) (*api.ActivateResponse, error) {
	if err := names.Check("mount name", r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	var opts []mount.ActivateOpt
	if r.Temporary {
		opts = append(opts, mount.WithTemporary)
	}
	if r.Labels != nil {
		opts = append(opts, mount.WithLabels(r.Labels))
	}
	info, err := s.manager.Activate(ctx, r.Name, mount.FromProto(r.Mounts), opts...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ActivateResponse{Info: proxy.ActivationInfoToProto(info)}, nil
}

// Deactivate unmounts what was mounted under a name.
func (s *Service) Deactivate(ctx context.Context, r *api.DeactivateRequest) (*emptypb.Empty, error) {
	if err := names.Check("mount name", r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.manager.Deactivate(ctx, r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Info answers with what is mounted under a name.
func (s *Service) Info(ctx context.Context, r *api.InfoRequest) (*api.InfoResponse, error) {
	if err := names.Check("mount name", r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	info, err := s.manager.Info(ctx, r.Name)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.InfoResponse{Info: proxy.ActivationInfoToProto(info)}, nil
}

// Update changes the labels that the mask names.
func (s *Service) Update(ctx context.Context, r *api.UpdateRequest) (*api.UpdateResponse, error) {
	if err := names.Check("mount name", r.GetInfo().GetName()); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	for _, active := range r.Info.Active {
		if active.Mount == nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("active mount without a mount: %w", errdefs.ErrInvalidArgument))
		}
	}
	info, err := s.manager.Update(ctx, proxy.ActivationInfoFromProto(r.Info), r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.UpdateResponse{Info: proxy.ActivationInfoToProto(info)}, nil
}

// List sends what is mounted under all names. containerd's mount manager reads no filters; only nonsense is refused.
func (s *Service) List(r *api.ListRequest, stream api.Mounts_ListServer) error {
	if _, err := filters.ParseAll(r.Filters...); err != nil {
		return errgrpc.ToGRPC(fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument))
	}
	found, err := s.manager.List(stream.Context(), r.Filters...)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for _, info := range found {
		if err := stream.Send(&api.ListMessage{Info: proxy.ActivationInfoToProto(info)}); err != nil {
			return err
		}
	}
	return nil
}
