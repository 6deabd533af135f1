package images

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// Service answers requests about images. Their events are the store's: it makes them for every other user, too.
type Service struct {
	api.UnimplementedImagesServer
	store   images.Store
	collect func(context.Context) error
}

// New makes the service. collect removes what nothing refers to any more; it is called for a deletion that is to be
// complete when it is answered.
func New(store images.Store, collect func(context.Context) error) *Service {
	return &Service{store: store, collect: collect}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterImagesServer(server, s) }

// Get answers with one image.
func (s *Service) Get(ctx context.Context, r *api.GetImageRequest) (*api.GetImageResponse, error) {
	image, err := s.store.Get(ctx, r.Name)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.GetImageResponse{Image: toProto(&image)}, nil
}

// List answers with the images that match one of the filters.
func (s *Service) List(ctx context.Context, r *api.ListImagesRequest) (*api.ListImagesResponse, error) {
	found, err := s.store.List(ctx, r.Filters...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.ListImagesResponse{}
	for i := range found {
		answer.Images = append(answer.Images, toProto(&found[i]))
	}
	return answer, nil
}

// Create gives a name to a target.
func (s *Service) Create(ctx context.Context, r *api.CreateImageRequest) (*api.CreateImageResponse, error) {
	ctx, err := prepare(ctx, r.GetImage(), r.SourceDateEpoch)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	created, err := s.store.Create(ctx, fromProto(r.Image))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.CreateImageResponse{Image: toProto(&created)}, nil
}

// Update changes the fields that the mask names; without a mask, all that can be changed.
func (s *Service) Update(ctx context.Context, r *api.UpdateImageRequest) (*api.UpdateImageResponse, error) {
	ctx, err := prepare(ctx, r.GetImage(), r.SourceDateEpoch)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	updated, err := s.store.Update(ctx, fromProto(r.Image), r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.UpdateImageResponse{Image: toProto(&updated)}, nil
}

// Delete takes the name from its target, if the target is still the one in the request. With sync it returns after
// everything that only this name held is gone.
func (s *Service) Delete(ctx context.Context, r *api.DeleteImageRequest) (*emptypb.Empty, error) {
	if err := names.Check("image name", r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	var opts []images.DeleteOpt
	if r.Target != nil {
		target := oci.DescriptorFromProto(r.Target)
		opts = append(opts, images.DeleteTarget(&target))
	}
	if err := s.store.Delete(ctx, r.Name, opts...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if r.Sync {
		if err := s.collect(ctx); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	return &emptypb.Empty{}, nil
}

// prepare checks what Create and Update have in common, and puts the time that the image is to have into ctx.
func prepare(ctx context.Context, image *api.Image, t *timestamppb.Timestamp) (context.Context, error) {
	if err := names.Check("Image.Name", image.GetName()); err != nil {
		return ctx, err
	}
	if err := names.Keys("label", image.Labels); err != nil {
		return ctx, err
	}
	if t == nil {
		return ctx, nil
	}
	if err := t.CheckValid(); err != nil {
		return ctx, fmt.Errorf("source date epoch: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	at := t.AsTime()
	return epoch.WithSourceDateEpoch(ctx, &at), nil
}

func toProto(image *images.Image) *api.Image {
	return &api.Image{
		Name:      image.Name,
		Labels:    image.Labels,
		Target:    oci.DescriptorToProto(image.Target),
		CreatedAt: timestamppb.New(image.CreatedAt),
		UpdatedAt: timestamppb.New(image.UpdatedAt),
	}
}

func fromProto(image *api.Image) images.Image {
	return images.Image{
		Name:      image.Name,
		Labels:    image.Labels,
		Target:    descriptor(image.Target),
		CreatedAt: image.CreatedAt.AsTime(),
		UpdatedAt: image.UpdatedAt.AsTime(),
	}
}

func descriptor(d *types.Descriptor) ocispec.Descriptor {
	if d == nil {
		return ocispec.Descriptor{}
	}
	return oci.DescriptorFromProto(d)
}
