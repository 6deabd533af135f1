package manager

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"

	"github.com/gantry-containers/gantry/manager/metrics"
	"github.com/gantry-containers/gantry/manager/peer"
	"github.com/gantry-containers/gantry/manager/service/containers"
	"github.com/gantry-containers/gantry/manager/service/content"
	"github.com/gantry-containers/gantry/manager/service/diff"
	"github.com/gantry-containers/gantry/manager/service/events"
	"github.com/gantry-containers/gantry/manager/service/images"
	"github.com/gantry-containers/gantry/manager/service/introspection"
	"github.com/gantry-containers/gantry/manager/service/leases"
	"github.com/gantry-containers/gantry/manager/service/mounts"
	namespaceservice "github.com/gantry-containers/gantry/manager/service/namespaces"
	"github.com/gantry-containers/gantry/manager/service/sandboxes"
	"github.com/gantry-containers/gantry/manager/service/snapshots"
	"github.com/gantry-containers/gantry/manager/service/streaming"
	"github.com/gantry-containers/gantry/manager/service/tasks"
	"github.com/gantry-containers/gantry/manager/service/transfer"
	"github.com/gantry-containers/gantry/manager/service/version"
)

// workers is how many goroutines are kept for calls: a new one for each call spends a tenth of it on growing its stack.
// Calls beyond that number get new ones.
const workers = 4

// Windows of fixed size, in bytes. To find the right one by itself, gRPC pings the client with almost every message; in the
// machine itself there is nothing to find. One is enough for a chunk of a layer, as clients cut them, the other for several.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

// serve puts the faces on the two servers, which answer nobody yet.
func (m *Manager) serve() error {
	about, err := introspection.New(m.config.Root, m.plugins(), m.shims)
	if err != nil {
		return err
	}
	streams := streaming.NewManager(m.store.Leases)
	m.every(time.Minute, "streams of clients that are gone", streams.Sweep)
	eventService := events.New(m.log, m.tasks)

	m.grpc = grpc.NewServer(
		grpc.Creds(peer.Credentials()),
		grpc.MaxRecvMsgSize(m.config.GRPC.MaxRecv),
		grpc.MaxSendMsgSize(m.config.GRPC.MaxSend),
		grpc.UnaryInterceptor(m.calls.unary),
		grpc.StreamInterceptor(m.calls.stream),
		grpc.NumStreamWorkers(workers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
	)
	for _, face := range []interface{ Register(*grpc.Server) }{
		about,
		containers.New(forgetful{m.store.Containers, m.tasks}, m.log),
		content.New(m.store.Content),
		diff.New(m.store.Differ, m.store.Differ),
		images.New(m.store.Images, m.store.Collect),
		leases.New(m.store.Leases, m.store.Collect),
		m.health,
		mounts.New(m.store.Mounts),
		namespaceservice.New(m.store.Namespaces, m.log),
		sandboxes.New(m.store.Sandboxes, nil, m.log),
		snapshots.New(m.store.Snapshotters),
		streaming.New(streams),
		tasks.New(m.tasks),
		transfer.New(m.store.Transfer, streams),
		version.New(m.build.Version, m.build.Commit),
	} {
		face.Register(m.grpc)
	}
	eventService.Register(m.grpc)

	if m.ttrpc, err = ttrpc.NewServer(
		ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()),
		ttrpc.WithUnaryServerInterceptor(fromShim),
	); err != nil {
		return fmt.Errorf("server for shims: %w", err)
	}
	eventService.RegisterTTRPC(m.ttrpc)
	return nil
}

// every has work done now, and again and again until Close.
func (m *Manager) every(period time.Duration, what string, work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	m.stops = append(m.stops, func() { cancel(); <-done })
	go func() {
		defer close(done)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				slog.Warn(what, "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
}

// fromShim surrounds the answer to a shim.
func fromShim(ctx context.Context, into ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (answer any, err error) {
	defer recovered(info.FullMethod, &err)
	return method(ctx, into)
}

// plugins is what clients are told that the manager consists of.
func (m *Manager) plugins() []*introspection.Plugin {
	facts := introspection.Facts{Root: m.config.Root, Isolated: m.config.Metadata.Isolated}
	for name := range m.store.Snapshotters {
		facts.Snapshotters = append(facts.Snapshotters, introspection.Snapshotter{
			Name: name, Exports: m.store.Exports(name), Capabilities: m.store.Capabilities(name),
		})
	}
	return introspection.Plugins(facts)
}

// Metrics answers Prometheus. There are figures of calls only with an address in the configuration: who does not ask
// does not pay for the counting.
func (m *Manager) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		families := metrics.Process()
		if m.calls.metrics != nil {
			families = append(families, m.calls.metrics.Families()...)
		}
		containers, err := metrics.Containers(m.containers(r.Context()))
		if err != nil {
			slog.Warn("figures are left out", "error", err)
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		if err := metrics.Write(w, append(families, containers...)...); err != nil {
			slog.Debug("metrics are not read", "error", err)
		}
	})
}

func (m *Manager) containers(ctx context.Context) []metrics.Container {
	names, err := m.store.Namespaces.List(ctx)
	if err != nil {
		slog.Warn("figures of containers are left out", "error", err)
	}
	var list []metrics.Container
	for _, name := range names {
		answer, err := m.tasks.Metrics(namespaces.WithNamespace(ctx, name), &tasksapi.MetricsRequest{})
		if err != nil {
			slog.Warn("figures of containers are left out", "namespace", name, "error", err)
			continue
		}
		for _, c := range answer.Metrics {
			list = append(list, metrics.Container{Namespace: name, ID: c.ID, Data: c.Data})
		}
	}
	return list
}
