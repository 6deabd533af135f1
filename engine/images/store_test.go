package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/tests/harness"
)

// ours and theirs are the managers to test with, below the top of the tree.
const (
	ours   = "bin/gantry-manager"
	theirs = ".tools/clients/bin/containerd"
)

// onEach runs a test with our manager and with containerd.
func onEach(t *testing.T, test func(f *fixture)) {
	t.Helper()
	for _, program := range []string{ours, theirs} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			test(fixtureOn(t, program))
		})
	}
}

// manager starts a manager in a temporary folder, and a client of it.
func manager(t *testing.T, program string) *containerd.Client {
	t.Helper()
	harness.NeedRoot(t)
	program = filepath.Join(harness.Top(), program)
	if by := os.Getenv("GANTRY_MANAGER"); by != "" && filepath.IsAbs(by) {
		program = by
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s: make build makes our manager, make clients theirs", program)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "sock")
	config := fmt.Sprintf("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\nroot = %q\nstate = %q\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc")
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "--config", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the manager's log:\n%s", log.String())
		}
	})
	client, err := containerd.New(socket, containerd.WithDefaultNamespace("moby"), containerd.WithTimeout(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// records is a list of containers that a test sets.
type containers []*container.Container

func (c *containers) List() []*container.Container { return *c }

func (c *containers) Get(ref string) (*container.Container, error) {
	for _, r := range *c {
		if r.ID == ref || r.Name == ref {
			return r, nil
		}
	}
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such container: %s", ref)
}

// told is the events that a test saw.
type told struct {
	mu   sync.Mutex
	list []string
}

func (e *told) Publish(kind events.Type, action events.Action, id string, attributes map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if strings.HasPrefix(id, "sha256:") {
		id = "ID"
	}
	name := attributes["name"]
	if strings.HasPrefix(name, "sha256:") {
		name = "ID"
	}
	e.list = append(e.list, fmt.Sprintf("%s %s %s %s", kind, action, id, name))
}

func (e *told) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

// fixture is a store over a manager of its own.
type fixture struct {
	*Store
	t          *testing.T
	ctx        context.Context
	containers *containers
	events     *told
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	return fixtureOn(t, ours)
}

func fixtureOn(t *testing.T, program string) *fixture {
	t.Helper()
	client := manager(t, program)
	f := &fixture{t: t, ctx: namespaces.WithNamespace(t.Context(), "moby"), containers: &containers{}, events: &told{}}
	f.Store = New(Options{Client: client, Snapshotter: "overlayfs", Containers: f.containers, Events: f.events})
	watched := make(chan struct{})
	ctx, cancel := context.WithCancel(f.ctx)
	go func() {
		defer close(watched)
		f.Watch(ctx)
	}()
	t.Cleanup(func() { cancel(); <-watched })
	if !harness.Until(20*time.Second, f.index.isLive) {
		t.Fatal("the store does not follow the manager's events")
	}
	return f
}

// file is an entry of an archive.
type file struct {
	name string
	body []byte
}

func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		_ = w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body))})
		_, _ = w.Write(f.body)
	}
	_ = w.Close()
	return b.Bytes()
}

// made is an image of one layer.
type made struct {
	layer, config, manifest []byte
}

// makeImage makes an image whose layer has one file.
func makeImage(content string, platform ocispec.Platform, labels map[string]string) made {
	layer := tarOf(file{"hello", []byte(content)})
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config := marshal(ocispec.Image{
		Created: &created, Platform: platform, Config: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"A=1"}, Labels: labels},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
		History: []ocispec.History{{Created: &created, CreatedBy: "test", Comment: "made by a test"}},
	})
	return made{layer, config, marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, layer)},
	})}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func describe(kind string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func blob(b []byte) file { return file{"blobs/sha256/" + digest.FromBytes(b).Encoded(), b} }

// layout is an OCI layout of images by name.
func layout(top []ocispec.Descriptor, blobs ...[]byte) []byte {
	files := []file{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: top})},
	}
	for _, b := range blobs {
		files = append(files, blob(b))
	}
	return tarOf(files...)
}

func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	return d
}

func single(m made, name string) []byte {
	d := describe(ocispec.MediaTypeImageManifest, m.manifest)
	if name != "" {
		d = named(d, name)
	}
	return layout([]ocispec.Descriptor{d}, m.layer, m.config, m.manifest)
}

func linux(arch string) ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: arch} }

var here = linux(runtime.GOARCH)

// load loads an archive that must be good, and returns what was said.
func (f *fixture) load(archive []byte, platforms ...ocispec.Platform) string {
	f.t.Helper()
	var said strings.Builder
	if err := f.Load(f.ctx, bytes.NewReader(archive), platforms, func(line string) { said.WriteString(line) }); err != nil {
		f.t.Fatal(err)
	}
	return said.String()
}
