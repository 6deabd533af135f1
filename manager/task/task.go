package task

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/manager/bundle"
	"github.com/gantry-containers/gantry/manager/shim"
)

// Log is the part of the event log that tasks use. One that has History, too, lets Load find out which exits it
// holds already.
type Log interface {
	events.Publisher
	events.Forwarder
}

// Shims starts shims and finds them again: a *shim.Launcher.
type Shims interface {
	Start(ctx context.Context, b *bundle.Bundle, r shim.Request) (*shim.Shim, error)
	Attach(ctx context.Context, b *bundle.Bundle, address string, version int) (*shim.Shim, error)
	Load(ctx context.Context, b *bundle.Bundle) (*shim.Shim, error)
	Delete(ctx context.Context, b *bundle.Bundle) (*taskv3.DeleteResponse, error)
	Info(ctx context.Context, r shim.Request) (*types.RuntimeInfo, error)
}

// Config is what tasks need of the rest of the manager.
type Config struct {
	Bundles    bundle.Store
	Shims      Shims
	Containers containers.Store
	Content    content.Store // checkpoints
	Events     Log
	State      string                   // a directory for what is known of tasks: the ledger; made if missing
	Default    string                   // runtime of a container that names none
	Timeouts   map[string]time.Duration // of containerd's names (io.containerd.timeout.…), and ours; see limits.go
}

// Manager has the tasks of all namespaces. Its methods are those of containerd's task service: namespace in ctx,
// errors of package errdefs.
type Manager struct {
	cfg    Config
	limits limits
	ledger *ledger
	told   *told

	tookOver bool          // set by Load
	catching chan struct{} // held while a task catches up
	found    chan struct{} // closed when Load knows what there was before

	mu      sync.Mutex
	tasks   map[key]*task
	leaving map[key][]*task // deleted by their clients, but their shims are there still

	closed  chan struct{}
	closing sync.Once
}

// key names a task.
type key struct{ namespace, id string }

// New makes a Manager without tasks.
func New(c Config) *Manager {
	return &Manager{
		cfg:     c,
		limits:  newLimits(c.Timeouts),
		ledger:  &ledger{dir: c.State},
		told:    newTold(),
		tasks:   map[key]*task{},
		leaving: map[key][]*task{},
		closed:  make(chan struct{}),

		catching: make(chan struct{}, catchingAtOnce),
		found:    make(chan struct{}),
	}
}

// Close leaves tasks and shims as they are, for the next manager.
func (m *Manager) Close() error {
	m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tasks {
		t.mu.Lock()
		if t.shim != nil {
			t.shim.Close() //nolint:errcheck // it goes on
		}
		t.mu.Unlock()
	}
	return nil
}

// end stops what is done in the background, and the ledger.
func (m *Manager) end() {
	m.closing.Do(func() {
		close(m.closed)
		m.ledger.close()
	})
}

func (m *Manager) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

// find is the task of the id, whatever it is doing; nil where there is none.
func (m *Manager) find(k key) *task {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tasks[k]
}

// get is the task of the id for a client of its namespace. One that is still being created is not there yet.
func (m *Manager) get(ctx context.Context, id string) (*task, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	if t := m.find(key{namespace, id}); t != nil && t.readable() {
		return t, nil
	}
	// Clients tell a container that is unknown from one without a task.
	if _, err := m.cfg.Containers.Get(ctx, id); err != nil {
		return nil, err
	}
	return nil, missing(id)
}

// all are the tasks of a namespace that a client may see; "" is every namespace.
func (m *Manager) all(namespace string) []*task {
	m.mu.Lock()
	var found []*task
	for k, t := range m.tasks {
		if namespace == "" || k.namespace == namespace {
			found = append(found, t)
		}
	}
	m.mu.Unlock()
	found = slices.DeleteFunc(found, func(t *task) bool { return !t.readable() })
	slices.SortFunc(found, func(a, b *task) int { return strings.Compare(a.id, b.id) })
	return found
}

// Forget drops what is kept of a task that has ended, when its container's record has been removed. A task that lives
// stays.
func (m *Manager) Forget(namespace, id string) {
	t := m.find(key{namespace, id})
	if t == nil {
		return
	}
	t.mu.Lock()
	t.forgotten = true // for one that is just becoming a tombstone
	t.mu.Unlock()
	if t.tombstone() {
		t.forget()
	}
}

// missing is the error of a task that there is not, in containerd's words.
func missing(id string) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("task %v not found", id))
}
