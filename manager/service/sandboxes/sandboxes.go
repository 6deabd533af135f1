package sandboxes

import (
	api "github.com/containerd/containerd/api/services/sandbox/v1"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/sandbox"
	"google.golang.org/grpc"
)

// Service answers requests about sandboxes.
type Service struct {
	store      store
	controller controller
}

// New makes both services. Controllers are found by name; a manager without any answers that the one asked for is not
// there, with errdefs.ErrNotFound. Events are sandbox create, start and exit.
func New(s sandbox.Store, controllers map[string]sandbox.Controller, publisher events.Publisher) *Service {
	return &Service{
		store:      store{store: s},
		controller: controller{controllers: controllers, publisher: publisher},
	}
}

// Register adds both services to a server.
func (s *Service) Register(server *grpc.Server) {
	api.RegisterStoreServer(server, &s.store)
	api.RegisterControllerServer(server, &s.controller)
}
