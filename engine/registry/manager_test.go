package registry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/introspection"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	api "github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.etcd.io/bbolt"

	"github.com/gantry-containers/gantry/engine/httpapi"
)

// snapshotter is the name of the manager's in these tests.
const snapshotter = "native"

// manager is a manager's stores within the test: real ones, but for layers, which are read and not extracted.
type manager struct {
	db     *metadata.DB
	client *containerd.Client
	events recorder
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir := t.TempDir()
	store, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := native.NewSnapshotter(filepath.Join(dir, "native"))
	if err != nil {
		t.Fatal(err)
	}
	bolt, err := bbolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{db: metadata.NewDB(bolt, store, map[string]snapshots.Snapshotter{snapshotter: layers})}
	if err := m.db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.client, err = containerd.New("", containerd.WithDefaultNamespace("moby"), containerd.WithServices(
		containerd.WithContentStore(m.db.ContentStore()),
		containerd.WithImageStore(metadata.NewImageStore(m.db)),
		containerd.WithLeasesService(metadata.NewLeaseManager(m.db)),
		containerd.WithSnapshotters(m.db.Snapshotters()),
		containerd.WithDiffService(reading{m.db.ContentStore()}),
		containerd.WithIntrospectionService(silent{}),
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.client.Close()
		_ = layers.Close()
		_ = bolt.Close()
	})
	return m
}

// service is a service over the manager, quick to give up.
func (m *manager) service(t *testing.T, c Config) *Service {
	t.Helper()
	if c.CertsDir == "" {
		c.CertsDir = t.TempDir()
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = time.Millisecond
	}
	s, err := New(Options{Config: c, Client: m.client, Snapshotter: snapshotter, Events: &m.events})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// context is one in the namespace.
func (m *manager) context(t *testing.T) context.Context {
	t.Helper()
	return namespaced(t.Context())
}

// namespaced is a context of the manager's namespace, which a client of a connection sends by itself.
func namespaced(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, "moby") }

// left is everything that the manager has, after it has collected its garbage.
func (m *manager) left(t *testing.T) []string {
	t.Helper()
	ctx := m.context(t)
	if _, err := m.db.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	all := []string{}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(m.db.ContentStore().Walk(ctx, func(i content.Info) error {
		all = append(all, "content "+i.Digest.String())
		return nil
	}))
	ingests, err := m.db.ContentStore().ListStatuses(ctx)
	check(err)
	for _, i := range ingests {
		all = append(all, "ingest "+i.Ref)
	}
	check(m.client.SnapshotService(snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		all = append(all, "snapshot "+i.Name)
		return nil
	}))
	held, err := m.client.LeasesService().List(ctx)
	check(err)
	for _, l := range held {
		all = append(all, "lease "+l.ID)
	}
	records, err := m.client.ImageService().List(ctx)
	check(err)
	for _, r := range records {
		all = append(all, "image "+r.Name)
	}
	slices.Sort(all)
	return all
}

// reading applies layers by reading them.
type reading struct{ store content.Provider }

func (r reading) Apply(ctx context.Context, desc ocispec.Descriptor, _ []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	ra, err := r.store.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer ra.Close()
	z, err := gzip.NewReader(io.NewSectionReader(ra, 0, ra.Size()))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := digest.FromReader(z)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d}, err
}

func (reading) Compare(context.Context, []mount.Mount, []mount.Mount, ...diff.Opt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, errors.ErrUnsupported
}

// silent tells of no capabilities, as old managers do.
type silent struct{ introspection.Service }

func (silent) Plugins(context.Context, ...string) (*introspectionapi.PluginsResponse, error) {
	return &introspectionapi.PluginsResponse{}, nil
}

// recorder keeps events.
type recorder struct {
	mu  sync.Mutex
	all []api.Message
}

func (r *recorder) Publish(kind api.Type, action api.Action, id string, attributes map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, api.Message{Type: kind, Action: action, Actor: api.Actor{ID: id, Attributes: attributes}})
}

// status is the HTTP status that a client would get.
func status(err error) int {
	if err == nil {
		return 200
	}
	return httpapi.Status(err)
}
