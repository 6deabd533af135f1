package sandboxes

import (
	"context"
	"fmt"

	api "github.com/containerd/containerd/api/services/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/service/names"
)

// store answers requests about what is kept of sandboxes.
type store struct {
	api.UnimplementedStoreServer
	store sandbox.Store
}

// Create keeps a new sandbox.
func (s *store) Create(ctx context.Context, r *api.StoreCreateRequest) (*api.StoreCreateResponse, error) {
	if err := check(r.Sandbox); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	created, err := s.store.Create(ctx, fromProto(r.Sandbox))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.StoreCreateResponse{Sandbox: sandbox.ToProto(&created)}, nil
}

// Update changes the fields that the request names; without any, all that can be changed.
func (s *store) Update(ctx context.Context, r *api.StoreUpdateRequest) (*api.StoreUpdateResponse, error) {
	if err := check(r.Sandbox); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	updated, err := s.store.Update(ctx, fromProto(r.Sandbox), r.Fields...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.StoreUpdateResponse{Sandbox: sandbox.ToProto(&updated)}, nil
}

// List answers with the sandboxes that match one of the filters.
func (s *store) List(ctx context.Context, r *api.StoreListRequest) (*api.StoreListResponse, error) {
	found, err := s.store.List(ctx, r.Filters...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	answer := &api.StoreListResponse{}
	for i := range found {
		answer.List = append(answer.List, sandbox.ToProto(&found[i]))
	}
	return answer, nil
}

// Get answers with one sandbox.
func (s *store) Get(ctx context.Context, r *api.StoreGetRequest) (*api.StoreGetResponse, error) {
	found, err := s.store.Get(ctx, r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.StoreGetResponse{Sandbox: sandbox.ToProto(&found)}, nil
}

// Delete forgets a sandbox.
func (s *store) Delete(ctx context.Context, r *api.StoreDeleteRequest) (*api.StoreDeleteResponse, error) {
	if err := names.Check("sandbox id", r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.store.Delete(ctx, r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.StoreDeleteResponse{}, nil
}

func check(s *types.Sandbox) error {
	if s == nil {
		return fmt.Errorf("sandbox required: %w", errdefs.ErrInvalidArgument)
	}
	if err := names.Keys("label", s.Labels); err != nil {
		return err
	}
	return names.Keys("extension", s.Extensions)
}

// fromProto is sandbox.FromProto for messages that lack parts, at which that one panics.
func fromProto(s *types.Sandbox) sandbox.Sandbox {
	extensions := make(map[string]typeurl.Any, len(s.Extensions))
	for name, extension := range s.Extensions {
		extensions[name] = extension
	}
	return sandbox.Sandbox{
		ID:         s.SandboxID,
		Labels:     s.Labels,
		Runtime:    sandbox.RuntimeOpts{Name: s.GetRuntime().GetName(), Options: value(s.GetRuntime().GetOptions())},
		Spec:       value(s.Spec),
		Sandboxer:  s.Sandboxer,
		CreatedAt:  s.CreatedAt.AsTime(),
		UpdatedAt:  s.UpdatedAt.AsTime(),
		Extensions: extensions,
	}
}

// value keeps a message that is missing a nil interface.
func value(a *anypb.Any) typeurl.Any {
	if a == nil {
		return nil
	}
	return a
}
