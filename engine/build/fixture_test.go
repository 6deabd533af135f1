package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/stdcopy"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/rootfs"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/tests/harness"
)

// world has images, containers and their files, all in folders.
type world struct {
	t       *testing.T
	dir     string
	service *Service

	mu sync.Mutex
	// images by id; by is what they were built by, order when.
	images map[digest.Digest]*images.Image
	by     map[digest.Digest]*api.Config
	order  []digest.Digest
	tags   map[string]digest.Digest
	// containers that are there, with what they were made of; conns are who is attached.
	containers map[string]*api.Config
	conns      map[string]net.Conn
	// run is what containers do; the default is nothing. killed is closed when one is removed while it runs.
	run    func(config *api.Config, root string, out, errs io.Writer) int
	killed chan struct{}
	pulls  []string
	told   []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	harness.NeedRoot(t)
	w := &world{
		t: t, dir: t.TempDir(), images: map[digest.Digest]*images.Image{}, by: map[digest.Digest]*api.Config{},
		tags: map[string]digest.Digest{}, containers: map[string]*api.Config{}, conns: map[string]net.Conn{}, killed: make(chan struct{}),
	}
	s, err := New(Parts{
		Images: w, Registry: w, Containers: w, Streams: w, Roots: trees{w}, Events: w, Dir: filepath.Join(w.dir, "build"),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.service = s
	base := w.folder("base")
	for name, text := range map[string]string{"etc/passwd": "user:x:1000:100::/:\n", "etc/group": "group:x:50:\n", "dir/old": "old"} {
		must(t, os.MkdirAll(filepath.Join(base, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(base, name), []byte(text), 0o644))
	}
	must(t, os.Symlink("/dir", filepath.Join(base, "link")))
	must(t, os.Symlink("../../outside", filepath.Join(base, "escape")))
	must(t, os.Symlink("/etc", filepath.Join(base, "dir/etc")))
	img := w.add(&images.Image{ChainID: "base", Name: "base:latest"}, nil)
	w.tags["base"] = img.Target.Digest
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) folder(name string) string { return filepath.Join(w.dir, "trees", name) }

// add notes an image under an id of its own.
func (w *world) add(img *images.Image, by *api.Config) *images.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	img.Target.Digest = digest.FromString(fmt.Sprint(len(w.order)))
	at := time.Unix(int64(len(w.order)), 0)
	img.Config.Created = &at
	img.Config.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	w.images[img.Target.Digest], w.by[img.Target.Digest] = img, by
	w.order = append(w.order, img.Target.Digest)
	return img
}

// last is the newest image.
func (w *world) last() *images.Image { return w.images[w.order[len(w.order)-1]] }

func (w *world) Resolve(_ context.Context, name string, _ *ocispec.Platform) (*images.Image, error) {
	id, ok := w.tags[name]
	if !ok {
		id = digest.Digest(name)
	}
	if img, ok := w.images[id]; ok {
		return img, nil
	}
	return nil, fault.Errorf(errdefs.ErrNotFound, "No such image: %s", name)
}

func (w *world) Commit(_ context.Context, c images.Commit) (*images.Image, error) {
	img := &images.Image{}
	img.Config.Config = c.Config
	img.Config.Author = c.Author
	if c.Parent != nil {
		img.ChainID, img.Parent = c.Parent.ChainID, c.Parent.Target.Digest
		img.Config.History = slices.Clone(c.Parent.Config.History)
	}
	if c.Container != "" {
		img.ChainID = digest.Digest(names.ID())
		if err := os.Rename(w.folder(c.Container), w.folder(img.ChainID.String())); err != nil {
			return nil, err
		}
	}
	img.Config.History = append(img.Config.History, ocispec.History{CreatedBy: c.CreatedBy, EmptyLayer: c.Container == ""})
	return w.add(img, c.ContainerConfig), nil
}

func (w *world) Tag(_ context.Context, img *images.Image, name string) error {
	w.tags[name] = img.Target.Digest
	return nil
}

func (w *world) Children(_ context.Context, parent digest.Digest) (list []digest.Digest, _ error) {
	for _, id := range w.order {
		if w.images[id].Parent == parent && w.by[id] != nil {
			list = append(list, id)
		}
	}
	return list, nil
}

func (w *world) BuiltFrom(_ context.Context, img *images.Image) (*api.Config, error) {
	return w.by[img.Target.Digest], nil
}

func (w *world) Descends(_ context.Context, img *images.Image, from digest.Digest) bool {
	for p := img.Parent; p != ""; p = w.images[p].Parent {
		if p == from {
			return true
		}
	}
	return false
}

func (w *world) Adopt(_ context.Context, img, parent *images.Image) error {
	img.Parent = parent.Target.Digest
	return nil
}

func (w *world) Rebuild(_ context.Context, parent, goal *images.Image, config *api.Config) (*images.Image, error) {
	img := &images.Image{ChainID: goal.ChainID, Parent: parent.Target.Digest}
	img.Config.Config = images.ConfigOf(config)
	img.Config.History = goal.Config.History[:len(parent.Config.History)+1]
	return w.add(img, nil), nil
}

func (w *world) PullForBuild(_ context.Context, ref reference.Named, _ *ocispec.Platform, auths map[string]registry.AuthConfig, _ *progress.Writer) error {
	w.pulls = append(w.pulls, ref.String()+" as "+auths["host"].Username)
	if !strings.HasSuffix(ref.Name(), "/remote") {
		return fault.Errorf(errdefs.ErrNotFound, "no such repository")
	}
	img := w.add(&images.Image{ChainID: "base", Name: "remote"}, nil)
	w.tags["remote"] = img.Target.Digest
	return nil
}

func (w *world) Create(_ context.Context, c containers.Create) (api.CreateResponse, error) {
	id := names.ID()
	var chain digest.Digest
	if c.Config.Image != "" {
		chain = w.images[digest.Digest(c.Config.Image)].ChainID
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.containers[id] = c.Config
	return api.CreateResponse{ID: id}, w.Layer(context.Background(), id, "", chain)
}

func (w *world) Attach(_ context.Context, key stdio.Key, _ stdio.Attach, conn net.Conn) (<-chan stdio.Ended, error) {
	w.conns[key.Container] = conn
	return make(chan stdio.Ended), nil
}

func (w *world) Start(_ context.Context, id string) error {
	config := w.containers[id]
	if config.Cmd[0] == "missing" {
		w.conns[id].Close()
		return errors.New("no such program")
	}
	if w.run == nil {
		w.run = func(*api.Config, string, io.Writer, io.Writer) int { return 0 }
	}
	go func() {
		conn := w.conns[id]
		code := w.run(config, w.folder(id), frames{conn, stdcopy.Stdout}, frames{conn, stdcopy.Stderr})
		w.mu.Lock()
		config.Labels = map[string]string{"code": fmt.Sprint(code)}
		w.mu.Unlock()
		conn.Close()
	}()
	return nil
}

// frames writes as the keeper does.
type frames struct {
	net.Conn
	stream stdcopy.StdType
}

func (f frames) Write(p []byte) (int, error) {
	head := []byte{byte(f.stream), 0, 0, 0, 0, 0, byte(len(p) >> 8), byte(len(p))}
	_, err := f.Conn.Write(append(head, p...))
	return len(p), err
}

func (w *world) Wait(_ context.Context, id string, _ api.WaitCondition) (<-chan containers.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := make(chan containers.Result, 1)
	var r containers.Result
	_, err := fmt.Sscan(w.containers[id].Labels["code"], &r.ExitCode)
	ended <- r
	return ended, err
}

func (w *world) Remove(_ context.Context, id string, _ containers.Remove) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.containers[id] == nil {
		return fault.Errorf(errdefs.ErrNotFound, "No such container: %s", id)
	}
	if w.containers[id].Cmd[0] == "forever" {
		close(w.killed)
	}
	delete(w.containers, id)
	return os.RemoveAll(w.folder(id))
}

// Layer copies what an image has.
func (w *world) Layer(_ context.Context, key, _ string, chain digest.Digest) error {
	if chain == "" {
		return os.MkdirAll(w.folder(key), 0o755)
	}
	return copyTree(w.folder(chain.String()), w.folder(key))
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		st := info.Sys().(*syscall.Stat_t)
		if err := copyEntry(p, dest, info); err != nil {
			return err
		}
		return os.Lchown(dest, int(st.Uid), int(st.Gid))
	})
}

func copyEntry(from, to string, info os.FileInfo) error {
	switch {
	case info.IsDir():
		return os.MkdirAll(to, info.Mode().Perm())
	case info.Mode()&os.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, info.Mode().Perm())
}

func (w *world) View(ctx context.Context, key, owner string, chain digest.Digest) error {
	return w.Layer(ctx, key, owner, chain)
}

func (w *world) OpenWritable(_ context.Context, key string) (*rootfs.Tree, error) {
	root, err := rootfs.Clone(w.folder(key), false)
	return &rootfs.Tree{Root: root}, err
}

func (w *world) OpenView(ctx context.Context, key string) (*rootfs.Tree, error) {
	return w.OpenWritable(ctx, key)
}

func (w *world) Publish(kind events.Type, action events.Action, _ string, _ map[string]string) {
	w.told = append(w.told, string(kind)+" "+string(action))
}

// trees is a world whose Remove is that of snapshots.
type trees struct{ *world }

func (t trees) Remove(_ context.Context, key string) error { return os.RemoveAll(t.folder(key)) }

// entry is an entry of a context.
type entry struct {
	name, text string
	header     tar.Header
}

func contextOf(entries ...entry) *bytes.Buffer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header
		h.Name, h.Size = e.name, int64(len(e.text))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		_ = w.WriteHeader(&h)
		_, _ = io.WriteString(w, e.text)
	}
	_ = w.Close()
	return &b
}

// build builds a Dockerfile with a context, and returns what was said and the error.
func (w *world) build(dockerfile string, r Request, entries ...entry) (said string, _ error) {
	w.t.Helper()
	if r.Context == nil {
		r.Context = contextOf(append(entries, entry{name: "Dockerfile", text: dockerfile})...)
	}
	var b bytes.Buffer
	_, err := w.service.Build(w.t.Context(), &r, progress.NewWriter(&b))
	return text(w.t, &b), err
}

// text is the output of a stream.
func text(t *testing.T, b *bytes.Buffer) string {
	t.Helper()
	var s strings.Builder
	for dec := json.NewDecoder(b); ; {
		var m jsonstream.Message
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return s.String()
		}
		must(t, err)
		s.WriteString(m.Stream)
	}
}
