package health

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	api "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func client(t *testing.T, s *Service) api.HealthClient {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	api.RegisterHealthServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	c, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return api.NewHealthClient(c)
}

func TestCheckWaitsUntilReady(t *testing.T) {
	s := New()
	c := client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Check(ctx, &api.HealthCheckRequest{}); status.Code(err) != codes.Canceled {
		t.Fatalf("Check that was given up: %v", err)
	}
	watch, err := c.Watch(t.Context(), &api.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() api.HealthCheckResponse_ServingStatus {
		t.Helper()
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := next(); got != api.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("Watch before Ready: %v", got)
	}
	answer := make(chan error, 1)
	go func() {
		r, err := c.Check(t.Context(), &api.HealthCheckRequest{})
		if err == nil && r.Status != api.HealthCheckResponse_SERVING {
			t.Errorf("Check after Ready: %v", r.Status)
		}
		answer <- err
	}()
	s.Ready()
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	if got := next(); got != api.HealthCheckResponse_SERVING {
		t.Fatalf("Watch after Ready: %v", got)
	}
	s.End()
	if got := next(); got != api.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("Watch after End: %v", got)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("Watch ended with %v", err)
	}
}

func TestUnknownService(t *testing.T) {
	c := client(t, New())
	if _, err := c.Check(t.Context(), &api.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("Check of an unknown service: %v", err)
	}
	list, err := c.List(t.Context(), &api.HealthListRequest{})
	if err != nil || list.Statuses[""].GetStatus() != api.HealthCheckResponse_NOT_SERVING {
		t.Errorf("List: %v, %v", list, err)
	}
}
