package containers

import (
	"context"
	"fmt"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/service/announce"
	"github.com/gantry-containers/gantry/manager/service/names"
)

// Service answers requests about containers: what is kept of them, not their tasks. Whether a container's task still
// runs is for the client to look at before it deletes, as in containerd.
type Service struct {
	api.UnimplementedContainersServer
	store     containers.Store
	publisher events.Publisher
}

// New makes the service. Its events are container create, update and delete.
func New(store containers.Store, publisher events.Publisher) *Service {
	return &Service{store: store, publisher: publisher}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterContainersServer(server, s) }

// Get answers with one container.
func (s *Service) Get(ctx context.Context, r *api.GetContainerRequest) (*api.GetContainerResponse, error) {
	c, err := s.store.Get(ctx, r.ID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.GetContainerResponse{Container: toProto(&c)}, nil
}

// List answers with the containers that match one of the filters, in one message.
func (s *Service) List(ctx context.Context, r *api.ListContainersRequest) (*api.ListContainersResponse, error) {
	found, err := s.store.List(ctx, r.Filters...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.ListContainersResponse{}
	for i := range found {
		answer.Containers = append(answer.Containers, toProto(&found[i]))
	}
	return answer, nil
}

// ListStream is List with a message for each container, for lists that are longer than a message may be.
func (s *Service) ListStream(r *api.ListContainersRequest, stream api.Containers_ListStreamServer) error {
	found, err := s.store.List(stream.Context(), r.Filters...)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for i := range found {
		if err := stream.Send(&api.ListContainerMessage{Container: toProto(&found[i])}); err != nil {
			return err
		}
	}
	return nil
}

// Create keeps a new container.
func (s *Service) Create(ctx context.Context, r *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
	if r.Container == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("container required: %w", errdefs.ErrInvalidArgument))
	}
	if err := check(r.Container); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	created, err := s.store.Create(ctx, fromProto(r.Container))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := toProto(&created)
	announce.Done(ctx, s.publisher, "/containers/create", &eventtypes.ContainerCreate{
		ID:    answer.ID,
		Image: answer.Image,
		Runtime: &eventtypes.ContainerCreate_Runtime{
			Name:    answer.Runtime.Name,
			Options: answer.Runtime.Options,
		},
	})
	return &api.CreateContainerResponse{Container: answer}, nil
}

// Update changes the fields that the mask names; without a mask, all that can be changed.
func (s *Service) Update(ctx context.Context, r *api.UpdateContainerRequest) (*api.UpdateContainerResponse, error) {
	if r.GetContainer().GetID() == "" {
		return nil, errgrpc.ToGRPC(fmt.Errorf("Container.ID required: %w", errdefs.ErrInvalidArgument))
	}
	if err := check(r.Container); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	updated, err := s.store.Update(ctx, fromProto(r.Container), r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := toProto(&updated)
	announce.Done(ctx, s.publisher, "/containers/update", &eventtypes.ContainerUpdate{
		ID:          answer.ID,
		Image:       answer.Image,
		Labels:      answer.Labels,
		SnapshotKey: answer.SnapshotKey,
	})
	return &api.UpdateContainerResponse{Container: answer}, nil
}

// Delete forgets a container.
func (s *Service) Delete(ctx context.Context, r *api.DeleteContainerRequest) (*emptypb.Empty, error) {
	if err := names.Check("container id", r.ID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.store.Delete(ctx, r.ID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	announce.Done(ctx, s.publisher, "/containers/delete", &eventtypes.ContainerDelete{ID: r.ID})
	return &emptypb.Empty{}, nil
}

func check(c *api.Container) error {
	if err := names.Keys("label", c.Labels); err != nil {
		return err
	}
	return names.Keys("extension", c.Extensions)
}
