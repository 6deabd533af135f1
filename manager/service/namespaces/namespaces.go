package namespaces

import (
	"context"
	"fmt"
	"strings"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gantry-containers/gantry/manager/service/announce"
	"github.com/gantry-containers/gantry/manager/service/names"
)

// Transactor is a store that can take several calls as one: all of them are kept or none, and nobody sees some.
type Transactor interface {
	Transact(ctx context.Context, calls func(namespaces.Store) error) error
}

// Service answers requests about namespaces.
type Service struct {
	api.UnimplementedNamespacesServer
	store     namespaces.Store
	publisher events.Publisher
}

// New makes the service. The labels of a namespace are replaced in one step if the store is a Transactor. Events are
// namespace create, update and delete, each in the namespace that it is about.
func New(store namespaces.Store, publisher events.Publisher) *Service {
	return &Service{store: store, publisher: publisher}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterNamespacesServer(server, s) }

// Get answers with the labels of a namespace. One that does not exist has none: namespaces come into being when they
// are used.
func (s *Service) Get(ctx context.Context, r *api.GetNamespaceRequest) (*api.GetNamespaceResponse, error) {
	labels, err := s.store.Labels(ctx, r.Name)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.GetNamespaceResponse{Namespace: &api.Namespace{Name: r.Name, Labels: labels}}, nil
}

// List answers with all namespaces. containerd has never read the request's filter; neither is it read here.
func (s *Service) List(ctx context.Context, _ *api.ListNamespacesRequest) (*api.ListNamespacesResponse, error) {
	answer := &api.ListNamespacesResponse{}
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	for _, name := range all {
		labels, err := s.store.Labels(ctx, name)
		if err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
		answer.Namespaces = append(answer.Namespaces, &api.Namespace{Name: name, Labels: labels})
	}
	return answer, nil
}

// Create makes a namespace with its labels.
func (s *Service) Create(ctx context.Context, r *api.CreateNamespaceRequest) (*api.CreateNamespaceResponse, error) {
	name, labels := r.GetNamespace().GetName(), r.GetNamespace().GetLabels()
	if err := identifiers.Validate(name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := names.Keys("label", labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.store.Create(ctx, name, labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	s.announce(ctx, name, "/namespaces/create", &eventtypes.NamespaceCreate{Name: name, Labels: labels})
	return &api.CreateNamespaceResponse{Namespace: r.Namespace}, nil
}

// Update sets the labels that the mask names; without a mask it replaces all. An empty value removes a label.
func (s *Service) Update(ctx context.Context, r *api.UpdateNamespaceRequest) (*api.UpdateNamespaceResponse, error) {
	name, labels := r.GetNamespace().GetName(), r.GetNamespace().GetLabels()
	if err := identifiers.Validate(name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := names.Keys("label", labels); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	err := s.transact(ctx, func(store namespaces.Store) error {
		if paths := r.GetUpdateMask().GetPaths(); len(paths) > 0 {
			return setMasked(ctx, store, r.Namespace, paths)
		}
		return replace(ctx, store, r.Namespace)
	})
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	s.announce(ctx, name, "/namespaces/update", &eventtypes.NamespaceUpdate{Name: name, Labels: labels})
	return &api.UpdateNamespaceResponse{}, nil
}

func setMasked(ctx context.Context, store namespaces.Store, n *api.Namespace, paths []string) error {
	for _, path := range paths {
		key, ok := strings.CutPrefix(path, "labels.")
		if !ok || key == "" {
			return fmt.Errorf("cannot update %q field: %w", path, errdefs.ErrInvalidArgument)
		}
		if err := store.SetLabel(ctx, n.Name, key, n.Labels[key]); err != nil {
			return err
		}
	}
	return nil
}

func replace(ctx context.Context, store namespaces.Store, n *api.Namespace) error {
	old, err := store.Labels(ctx, n.Name)
	if err != nil {
		return err
	}
	for key := range old {
		if _, stays := n.Labels[key]; stays {
			continue
		}
		if err := store.SetLabel(ctx, n.Name, key, ""); err != nil {
			return err
		}
	}
	for key, value := range n.Labels {
		if err := store.SetLabel(ctx, n.Name, key, value); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a namespace that is empty; the error names what is still in one that is not.
func (s *Service) Delete(ctx context.Context, r *api.DeleteNamespaceRequest) (*emptypb.Empty, error) {
	if err := names.Check("namespace", r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := s.store.Delete(ctx, r.Name); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	s.announce(ctx, r.Name, "/namespaces/delete", &eventtypes.NamespaceDelete{Name: r.Name})
	return &emptypb.Empty{}, nil
}

func (s *Service) transact(ctx context.Context, calls func(namespaces.Store) error) error {
	if t, ok := s.store.(Transactor); ok {
		return t.Transact(ctx, calls)
	}
	return calls(s.store)
}

func (s *Service) announce(ctx context.Context, namespace, topic string, event events.Event) {
	announce.Done(namespaces.WithNamespace(ctx, namespace), s.publisher, topic, event)
}
