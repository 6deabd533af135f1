package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// asker answers with the name of who asked.
type asker struct {
	grpc_health_v1.UnimplementedHealthServer
	heard chan string
}

func (a asker) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	a.heard <- Process(ctx)
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func TestProcess(t *testing.T) {
	start, err := startOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for network, want := range map[string]string{"unix": fmt.Sprintf("%d:%s", os.Getpid(), start), "tcp": ""} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer(grpc.Creds(Credentials()))
			a := asker{heard: make(chan string, 1)}
			grpc_health_v1.RegisterHealthServer(server, a)
			go server.Serve(l) //nolint:errcheck // it ends with Stop
			defer server.Stop()
			target := "passthrough:///" + l.Addr().String()
			if network == "unix" {
				target = "unix:" + address
			}
			conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // it was only asked
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
			if got := <-a.heard; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	if got := Process(t.Context()); got != "" {
		t.Errorf("without a call: %q", got)
	}
}
