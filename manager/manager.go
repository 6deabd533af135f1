package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/config"
	"github.com/gantry-containers/gantry/manager/events"
	"github.com/gantry-containers/gantry/manager/metrics"
	"github.com/gantry-containers/gantry/manager/restart"
	"github.com/gantry-containers/gantry/manager/service/health"
	"github.com/gantry-containers/gantry/manager/shim"
	"github.com/gantry-containers/gantry/manager/store"
	"github.com/gantry-containers/gantry/manager/task"
)

// grace is how long Close waits for the calls that are being answered.
const grace = 2 * time.Second

// comeBack is how long the clients of another manager, which this one has taken over from, may take to come back. Those of
// containerd try every few seconds; shims wait so long for them.
const comeBack = 90 * time.Second

// Build is what the manager tells clients of itself.
type Build struct{ Version, Commit string }

// Manager is a lifecycle manager with everything that it has open.
type Manager struct {
	config config.Config
	build  Build
	locks  []*os.File
	log    *events.Log
	store  *store.Store
	shims  *shim.Launcher
	tasks  *task.Manager
	health *health.Service
	calls  *calls
	grpc   *grpc.Server
	ttrpc  *ttrpc.Server
	stops  []func() // of what runs in the background
	closed func() error
}

// New opens the stores and puts the services together. There can be one manager on a
// root and on a state directory: errdefs.ErrAlreadyExists for a second one. What fails is closed again.
func New(ctx context.Context, c config.Config, build Build) (_ *Manager, err error) {
	if err := c.Complete(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	m := &Manager{config: c, build: build, health: health.New(), calls: newCalls()}
	m.closed = sync.OnceValue(m.closeParts)
	if c.Metrics.Address != "" {
		m.calls.metrics = &metrics.Calls{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.closed())
		}
	}()
	if err := m.lock(); err != nil {
		return nil, err
	}
	if err := temporary(c); err != nil {
		return nil, err
	}
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	if err := m.serve(); err != nil {
		return nil, err
	}
	return m, nil
}

// Load finds the tasks of the manager before, and says that this one is ready. It comes after ServeTTRPC, because shims that are cleaned
// up have something to tell, and before Serve.
func (m *Manager) Load(ctx context.Context) error {
	if err := m.tasks.Load(ctx); err != nil {
		return fmt.Errorf("tasks from before: %w", err)
	}
	if m.tasks.TookOver() {
		m.log.ExpectStrangers(comeBack)
	}
	keeper := &restart.Monitor{
		Namespaces: m.store.Namespaces, Containers: m.store.Containers, Snapshotters: m.store.Snapshotters, Tasks: m.tasks,
	}
	m.every(m.config.Restart.Interval, "restart of containers", keeper.Check)
	m.health.Ready()
	return nil
}

func (m *Manager) lock() error {
	for dir, mode := range map[string]os.FileMode{m.config.Root: 0o700, m.config.State: 0o711} {
		f, err := lock(dir, mode)
		if err != nil {
			return err
		}
		m.locks = append(m.locks, f)
	}
	return nil
}

// open opens the parts, each on top of the one before.
func (m *Manager) open(ctx context.Context) (err error) {
	c := m.config
	if m.log, err = events.Open(events.Config{Dir: filepath.Join(c.State, "io.gantry.events.v1")}); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	if m.store, err = store.Open(ctx, c, m.log); err != nil {
		return err
	}
	m.shims = shim.New(shim.Config{
		Address: c.GRPC.Address, TTRPCAddress: c.TTRPC.Address,
		SocketDir: c.Shim.SocketDir, Env: c.Shim.Env,
		Debug:    c.Debug.Level == "debug" || c.Debug.Level == "trace",
		Runtimes: c.Runtimes,
	})
	m.tasks = task.New(task.Config{
		Bundles:    bundle.Store{State: c.State, Root: c.Root},
		Shims:      m.shims,
		Containers: m.store.Containers,
		Content:    m.store.Content,
		Events:     m.log,
		State:      filepath.Join(c.State, "io.gantry.tasks.v1"),
		Default:    c.Runtime,
		Timeouts:   c.Timeouts,
	})
	return nil
}

// Serve answers clients until Close; its error is nil then.
func (m *Manager) Serve(l net.Listener) error {
	if err := m.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve clients: %w", err)
	}
	return nil
}

// ServeTTRPC answers shims until Close; its error is nil then.
func (m *Manager) ServeTTRPC(l net.Listener) error {
	if err := m.ttrpc.Serve(context.Background(), l); err != nil && !errors.Is(err, ttrpc.ErrServerClosed) {
		return fmt.Errorf("serve shims: %w", err)
	}
	return nil
}

// Close ends Serve and ServeTTRPC and leaves shims and containers as they are. Calls that are being answered have two
// seconds for it; everything that waits is told Unavailable, which clients take for a reason to come back. It can be
// repeated.
func (m *Manager) Close() error {
	m.health.End()
	m.calls.drain(grace)
	return m.closed()
}

// closeParts closes what is open, the last first.
func (m *Manager) closeParts() error {
	var errs []error
	// Before its server, so that subscribers hear why, and the log that they have not left by themselves.
	if m.log != nil {
		errs = append(errs, m.log.Close())
	}
	if m.grpc != nil {
		stopGRPC(m.grpc)
	}
	if m.ttrpc != nil {
		errs = append(errs, m.ttrpc.Close())
	}
	for _, stop := range m.stops {
		stop()
	}
	if m.tasks != nil {
		errs = append(errs, m.tasks.Close())
	}
	if m.store != nil {
		errs = append(errs, m.store.Close())
	}
	for _, f := range m.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// stopGRPC lets the last answers out, and then closes all connections.
func stopGRPC(s *grpc.Server) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.GracefulStop()
	}()
	timer := time.NewTimer(grace / 4)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.Stop()
		<-done
	}
	slog.Debug("clients are gone")
}
