package streaming

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/streaming"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// Unclaimed is how long a stream may wait for the request that uses it.
const Unclaimed = 10 * time.Minute

// Manager has the streams that clients have opened and that other requests refer to, by namespace and name. It is a
// streaming.StreamManager.
type Manager struct {
	leases leases.Manager

	mu      sync.Mutex
	streams map[key]*entry
}

type key struct{ namespace, name string }

// NewManager makes a Manager without streams. leases says which leases there still are: a stream that was opened under
// one ends with it.
func NewManager(l leases.Manager) *Manager {
	return &Manager{leases: l, streams: make(map[key]*entry)}
}

// entry is a stream in the manager. Closing it takes it out.
type entry struct {
	streaming.Stream
	manager *Manager
	key     key
	lease   string    // empty: none
	since   time.Time // zero: somebody has got it
	once    sync.Once
	err     error
}

// Register adds a stream under the namespace and the lease of ctx. A name that is taken is errdefs.ErrAlreadyExists.
func (m *Manager) Register(ctx context.Context, name string, stream streaming.Stream) error {
	_, err := m.register(ctx, name, stream)
	return err
}

func (m *Manager) register(ctx context.Context, name string, stream streaming.Stream) (*entry, error) {
	if name == "" {
		return nil, fmt.Errorf("stream id required: %w", errdefs.ErrInvalidArgument)
	}
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	lease, _ := leases.FromContext(ctx)
	e := &entry{Stream: stream, manager: m, key: key{namespace, name}, lease: lease, since: time.Now()}

	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.streams[e.key]; taken {
		return nil, fmt.Errorf("stream %q: %w", name, errdefs.ErrAlreadyExists)
	}
	m.streams[e.key] = e
	return e, nil
}

// Get finds a stream of the namespace of ctx.
func (m *Manager) Get(ctx context.Context, name string) (streaming.Stream, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.streams[key{namespace, name}]
	if !ok {
		return nil, fmt.Errorf("stream %q: %w", name, errdefs.ErrNotFound)
	}
	e.since = time.Time{}
	return e, nil
}

// Sweep closes the streams whose lease is gone, and those that nobody has got for the time of Unclaimed. It is called
// now and then, as garbage is collected.
func (m *Manager) Sweep(ctx context.Context) error {
	var leased []*entry
	m.mu.Lock()
	var late []*entry
	for _, e := range m.streams {
		switch {
		case !e.since.IsZero() && time.Since(e.since) > Unclaimed:
			late = append(late, e)
		case e.lease != "":
			leased = append(leased, e)
		}
	}
	m.mu.Unlock()

	for _, e := range late {
		e.Close() //nolint:errcheck // the client has had its chance
	}
	return m.sweepLeased(ctx, leased)
}

// sweepLeased asks for the leases of each namespace once.
func (m *Manager) sweepLeased(ctx context.Context, leased []*entry) error {
	alive := make(map[key]bool)
	asked := make(map[string]bool)
	for _, e := range leased {
		if !asked[e.key.namespace] {
			found, err := m.leases.List(namespaces.WithNamespace(ctx, e.key.namespace))
			if err != nil {
				return fmt.Errorf("leases of streams: %w", err)
			}
			for _, lease := range found {
				alive[key{e.key.namespace, lease.ID}] = true
			}
			asked[e.key.namespace] = true
		}
		if !alive[key{e.key.namespace, e.lease}] {
			e.Close() //nolint:errcheck // the client has had its chance
		}
	}
	return nil
}

// Close ends the stream for its client and takes it out of the manager. It can be repeated.
func (e *entry) Close() error {
	e.once.Do(func() {
		e.manager.mu.Lock()
		delete(e.manager.streams, e.key)
		e.manager.mu.Unlock()
		e.err = e.Stream.Close()
	})
	return e.err
}
