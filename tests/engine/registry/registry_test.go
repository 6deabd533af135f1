// Package registry has the engine's pull and push talk to Debian's docker-registry, over our manager and containerd.
package registry

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/registry"
	"github.com/gantry-containers/gantry/engine/unpack"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

const snapshotter = "overlayfs"

// TestMain gives the tests a /run of their own.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// engine is the engine's side of a test: a manager with one image, and a service.
type engine struct {
	t      *testing.T
	client *containerd.Client
	*registry.Service
	auth *api.AuthConfig
}

func start(t *testing.T, g compat.Generation, c registry.Config) *engine {
	t.Helper()
	daemon := compat.StartContainerd(t, g, compat.Shim(t, g))
	client, err := containerd.New(filepath.Join(daemon.Dir, "sock"), containerd.WithDefaultNamespace("moby"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s, err := registry.New(registry.Options{Config: c, Client: client, Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.Open(compat.Image(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if _, err := client.Import(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	return &engine{t, client, s, nil}
}

// do pulls or pushes, and returns what was told.
func (e *engine) do(what func(context.Context, reference.Named, registry.Request, *progress.Writer) error, name string) (string, error) {
	e.t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		e.t.Fatal(err)
	}
	var out bytes.Buffer
	err = what(e.t.Context(), ref, registry.Request{Auth: e.auth}, progress.NewWriter(&out))
	return out.String(), err
}

// must is do that has to tell something.
func (e *engine) must(what func(context.Context, reference.Named, registry.Request, *progress.Writer) error, name, told string) {
	e.t.Helper()
	out, err := e.do(what, name)
	if err != nil || !strings.Contains(out, told) {
		e.t.Fatalf("%v, without %q:\n%s", err, told, out)
	}
}

// tag gives the imported image another name.
func (e *engine) tag(name string) {
	e.t.Helper()
	image, err := e.client.ImageService().Get(e.t.Context(), compat.ImageName)
	if err == nil {
		_, err = e.client.ImageService().Create(e.t.Context(), images.Image{Name: name, Target: image.Target})
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// forget removes all images with what belongs to them.
func (e *engine) forget() {
	e.t.Helper()
	all, err := e.client.ImageService().List(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for _, image := range all {
		if err := e.client.ImageService().Delete(e.t.Context(), image.Name, images.SynchronousDelete()); err != nil {
			e.t.Fatal(err)
		}
	}
}

// serve runs a registry on an address, with more configuration, and returns its host.
func serve(t *testing.T, address, more string, client *http.Client) string {
	t.Helper()
	program := compat.Debian(t, "docker-registry")
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\n%s",
		dir, strings.ReplaceAll(more, "ADDRESS", host))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if strings.Contains(more, "tls:") {
		scheme = "https"
	}
	compat.Start(t, func() *exec.Cmd { return exec.Command(program, "serve", config) }, func() error {
		response, err := client.Get(scheme + "://" + host + "/v2/")
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	return host
}

// joe is a user whose password is "secret", as htpasswd writes it.
const joe = "joe:$2y$04$VtE2vzgE6Nu.DTXo.NK0zOD/suwlrfIpQsc9elFzuNhwtWAlB7JyG\n"

const plain = "http: {addr: 'ADDRESS'}\n"

// An image goes to a registry and comes back, over managers of all ages.
func TestRoundTrip(t *testing.T) {
	harness.NeedRoot(t)
	for _, g := range []compat.Generation{compat.Gantry, compat.Containerd24, compat.Containerd16} {
		t.Run(string(g), func(t *testing.T) {
			host := serve(t, "127.0.0.1", plain, http.DefaultClient)
			e := start(t, g, registry.Config{CertsDir: t.TempDir()})
			name := host + "/a/busybox:v1"
			e.tag(name)
			e.must(e.Push, name, `"status":"Pushed"`)
			e.must(e.Push, name, `"status":"Layer already exists"`)
			other := host + "/b/busybox:v2"
			e.tag(other)
			e.must(e.Push, other, "Mounted from a/busybox")
			e.forget()
			e.must(e.Pull, name, "Status: Downloaded newer image for "+name)
			e.must(e.Pull, name, "Status: Image is up to date for "+name)
			e.must(e.Pull, host+"/b/busybox", `"id":"v2"`)
			e.check(name)
		})
	}
}

// check looks at a pulled image: it is unpacked, can be unpacked again, and the registry names the same.
func (e *engine) check(name string) {
	t := e.t
	t.Helper()
	image, err := e.client.GetImage(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := image.IsUnpacked(t.Context(), snapshotter); !unpacked || err != nil {
		t.Error(unpacked, err)
	}
	// Unpacked from what is there, once its snapshots are gone.
	chain, err := unpack.Image(t.Context(), e.client, image.Target(), snapshotter)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.client.SnapshotService(snapshotter).Remove(t.Context(), chain.String()); err != nil {
		t.Fatal(err)
	}
	if again, err := unpack.Image(t.Context(), e.client, image.Target(), snapshotter); again != chain || err != nil {
		t.Error(again, err)
	}
	found, err := e.Inspect(t.Context(), named(t, name), registry.Request{})
	if err != nil || found.Descriptor.Digest != image.Target().Digest || found.Descriptor.Size != image.Target().Size {
		t.Error(found, err)
	}
	if leases, err := e.client.LeasesService().List(t.Context()); len(leases) != 0 || err != nil {
		t.Error(leases, err)
	}
}

func named(t *testing.T, name string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A registry with users takes those, and tells others what moby's clients would read.
func TestUsers(t *testing.T) {
	harness.NeedRoot(t)
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte(joe), 0o600); err != nil {
		t.Fatal(err)
	}
	host := serve(t, "127.0.0.1", plain+"auth: {htpasswd: {realm: here, path: "+users+"}}\n", http.DefaultClient)
	e := start(t, compat.Gantry, registry.Config{CertsDir: t.TempDir()})
	name := host + "/a/busybox:v1"
	e.tag(name)
	login := func(password string) error {
		_, err := e.Login(t.Context(), registry.Request{Auth: &api.AuthConfig{Username: "joe", Password: password, ServerAddress: host}})
		return err
	}
	if err := login("secret"); err != nil {
		t.Error(err)
	}
	expect := func(err error, status int, text string) {
		t.Helper()
		if err == nil || httpapi.Status(err) != status || err.Error() != text {
			t.Errorf("%v, not %d: %s", err, status, text)
		}
	}
	expect(login("wrong"), 500, "login attempt to http://"+host+"/v2/ failed with status: 401 Unauthorized")
	expect(login(""), 500, `Get "http://`+host+`/v2/": no basic auth credentials`)
	_, err := e.do(e.Push, name)
	expect(err, 500, "push access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials")
	_, err = e.do(e.Pull, name)
	expect(err, 500, `failed to resolve reference "`+name+`": pull access denied, repository does not exist or may require authorization: `+
		"authorization failed: no basic auth credentials")
	_, err = e.Inspect(t.Context(), named(t, name), registry.Request{Auth: &api.AuthConfig{Username: "joe", Password: "wrong"}})
	expect(err, 401, "unauthorized: authentication required")
	e.auth = &api.AuthConfig{Username: "joe", Password: "secret", ServerAddress: host}
	e.must(e.Push, name, `"status":"Pushed"`)
	e.forget()
	e.must(e.Pull, name, "Status: Downloaded newer image for "+name)
}
