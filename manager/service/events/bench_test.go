package events

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	eventlog "github.com/gantry-containers/gantry/manager/events"
)

// BenchmarkFourSubscribers is the time per event until four clients on a unix socket have received it, while events are
// published as fast as the log takes them.
func BenchmarkFourSubscribers(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "gantry-events-") //nolint:usetesting // TempDir is not on tmpfs
	if err != nil {
		b.Skip("needs /dev/shm: ", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	log, err := eventlog.Open(eventlog.Config{Dir: dir, MaxBytes: 1 << 30, MaxEvents: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closed(b, log) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	New(log, log).Register(server)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(listener); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		server.Stop()
		running.Wait()
	})
	ctx := namespaces.WithNamespace(context.Background(), "moby")
	var readers sync.WaitGroup
	for range 4 {
		conn, err := grpc.NewClient("unix:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { closed(b, conn) })
		stream, err := api.NewEventsClient(conn).Subscribe(ctx, &api.SubscribeRequest{Filters: []string{"namespace==moby,topic~=|^/tasks/|"}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Header(); err != nil {
			b.Fatal(err)
		}
		readers.Go(func() {
			for range b.N {
				if _, err := stream.Recv(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		if err := log.Publish(ctx, "/tasks/exit", &apievents.TaskExit{ContainerID: "0123456789abcdef", ID: "0123456789abcdef", Pid: 1234}); err != nil {
			b.Fatal(err)
		}
	}
	readers.Wait()
}
