package health

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	api "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Service tells whether the manager is ready. dockerd asks after each reconnect and goes on when it has the answer: so
// Check waits for it.
type Service struct {
	api.UnimplementedHealthServer
	ready, ended     chan struct{}
	readyOnce, onEnd sync.Once
}

// New makes the service of a manager that is not ready yet.
func New() *Service {
	return &Service{ready: make(chan struct{}), ended: make(chan struct{})}
}

// Register adds the service to a server.
func (s *Service) Register(server *grpc.Server) { api.RegisterHealthServer(server, s) }

// Ready says that the manager answers from now on.
func (s *Service) Ready() { s.readyOnce.Do(func() { close(s.ready) }) }

// End says that it does so no longer.
func (s *Service) End() { s.onEnd.Do(func() { close(s.ended) }) }

// Check waits until the manager is ready. There is one service to ask for, "", the manager as a whole.
func (s *Service) Check(ctx context.Context, r *api.HealthCheckRequest) (*api.HealthCheckResponse, error) {
	if r.GetService() != "" {
		return nil, status.Errorf(codes.NotFound, "unknown service %q", r.GetService())
	}
	select {
	case <-s.ended:
	case <-s.ready:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return &api.HealthCheckResponse{Status: s.status()}, nil
}

// List answers for all services without waiting.
func (s *Service) List(context.Context, *api.HealthListRequest) (*api.HealthListResponse, error) {
	return &api.HealthListResponse{Statuses: map[string]*api.HealthCheckResponse{"": {Status: s.status()}}}, nil
}

// Watch tells the state at once, and each change of it.
func (s *Service) Watch(r *api.HealthCheckRequest, stream api.Health_WatchServer) error {
	if r.GetService() != "" {
		// As the protocol has it: the service may come to be known.
		if err := stream.Send(&api.HealthCheckResponse{Status: api.HealthCheckResponse_SERVICE_UNKNOWN}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	ready, ended := s.ready, s.ended
	for {
		now := s.status()
		if err := stream.Send(&api.HealthCheckResponse{Status: now}); err != nil {
			return err
		}
		if now == api.HealthCheckResponse_SERVING {
			ready = nil
		}
		select {
		case <-ready:
		case <-ended:
			if now != api.HealthCheckResponse_NOT_SERVING {
				_ = stream.Send(&api.HealthCheckResponse{Status: api.HealthCheckResponse_NOT_SERVING})
			}
			return status.Error(codes.Unavailable, "the manager ends")
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func (s *Service) status() api.HealthCheckResponse_ServingStatus {
	select {
	case <-s.ended:
		return api.HealthCheckResponse_NOT_SERVING
	default:
	}
	select {
	case <-s.ready:
		return api.HealthCheckResponse_SERVING
	default:
		return api.HealthCheckResponse_NOT_SERVING
	}
}
