package leases

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// Service answers requests about leases, which keep resources from being collected.
type Service struct {
	api.UnimplementedLeasesServer
	manager leases.Manager
	collect func(context.Context) error
}

// New makes the service. collect removes what nothing refers to any more; it is called for a deletion that is to be
// complete when it is answered.
func New(manager leases.Manager, collect func(context.Context) error) *Service {
	return &Service{manager: manager, collect: collect}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterLeasesServer(server, s) }

// Create makes a lease; one without an id in the request gets one.
func (s *Service) Create(ctx context.Context, r *api.CreateRequest) (*api.CreateResponse, error) {
	id := leases.WithRandomID()
	if r.ID != "" {
		id = leases.WithID(r.ID)
		if err := names.Check("lease id", r.ID); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	if err := names.Keys("label", r.Labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	lease, err := s.manager.Create(ctx, leases.WithLabels(r.Labels), id)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.CreateResponse{Lease: toProto(lease)}, nil
}

// Delete ends a lease. With sync it returns after everything that only this lease held is gone.
func (s *Service) Delete(ctx context.Context, r *api.DeleteRequest) (*emptypb.Empty, error) {
	if err := names.Check("lease id", r.ID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.manager.Delete(ctx, leases.Lease{ID: r.ID}); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if r.Sync {
		if err := s.collect(ctx); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	return &emptypb.Empty{}, nil
}

// List answers with the leases that match one of the filters.
func (s *Service) List(ctx context.Context, r *api.ListRequest) (*api.ListResponse, error) {
	found, err := s.manager.List(ctx, r.Filters...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.ListResponse{}
	for _, lease := range found {
		answer.Leases = append(answer.Leases, toProto(lease))
	}
	return answer, nil
}

// AddResource puts a resource into a lease.
func (s *Service) AddResource(ctx context.Context, r *api.AddResourceRequest) (*emptypb.Empty, error) {
	resource, err := fromProto(r.Resource)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.manager.AddResource(ctx, leases.Lease{ID: r.ID}, resource); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// DeleteResource takes a resource out of a lease.
func (s *Service) DeleteResource(ctx context.Context, r *api.DeleteResourceRequest) (*emptypb.Empty, error) {
	resource, err := fromProto(r.Resource)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.manager.DeleteResource(ctx, leases.Lease{ID: r.ID}, resource); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// ListResources answers with what a lease holds.
func (s *Service) ListResources(ctx context.Context, r *api.ListResourcesRequest) (*api.ListResourcesResponse, error) {
	held, err := s.manager.ListResources(ctx, leases.Lease{ID: r.ID})
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.ListResourcesResponse{}
	for _, resource := range held {
		answer.Resources = append(answer.Resources, &api.Resource{ID: resource.ID, Type: resource.Type})
	}
	return answer, nil
}

func toProto(lease leases.Lease) *api.Lease {
	return &api.Lease{ID: lease.ID, Labels: lease.Labels, CreatedAt: timestamppb.New(lease.CreatedAt)}
}

func fromProto(r *api.Resource) (leases.Resource, error) {
	if r == nil {
		return leases.Resource{}, fmt.Errorf("resource required: %w", errdefs.ErrInvalidArgument)
	}
	if err := names.Check("resource id", r.ID); err != nil {
		return leases.Resource{}, err
	}
	return leases.Resource{ID: r.ID, Type: r.Type}, nil
}
