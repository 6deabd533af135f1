package images

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/images"
)

// fake is images of which there is one. It keeps what it was asked last.
type fake struct {
	Images
	list    images.ListOptions
	inspect images.InspectOptions
	remove  images.DeleteOptions
	commit  images.CommitOptions
	tagged  string
	wanted  []ocispec.Platform
	saveErr error
}

func (f *fake) List(_ context.Context, o images.ListOptions) ([]api.Summary, error) {
	f.list = o
	return []api.Summary{{ID: "sha256:1", Size: 7, Containers: 3, SharedSize: -1, Descriptor: &ocispec.Descriptor{Size: 1}}}, nil
}

func (f *fake) Inspect(_ context.Context, name string, o images.InspectOptions) (*images.Inspected, error) {
	f.inspect = o
	if name == "nope" {
		return nil, fault.Errorf(errdefs.ErrNotFound, "No such image: nope:latest")
	}
	in := &images.Inspected{Parent: "", Snapshotter: "overlayfs"}
	in.Size, in.Descriptor, in.Config = 7, &ocispec.Descriptor{}, &dockerspec.DockerOCIImageConfig{}
	return in, nil
}

func (f *fake) Delete(_ context.Context, _ string, o images.DeleteOptions) ([]api.DeleteResponse, error) {
	f.remove = o
	return []api.DeleteResponse{{Untagged: "x:1"}}, nil
}

func (f *fake) TagByName(_ context.Context, _, name string) error {
	f.tagged = name
	return nil
}

func (f *fake) CommitContainer(_ context.Context, o images.CommitOptions) (string, error) {
	f.commit = o
	return "sha256:2", nil
}

func (f *fake) Prune(context.Context, filters.Args) (*api.PruneReport, error) {
	return &api.PruneReport{}, nil
}

func (f *fake) Load(_ context.Context, body io.Reader, wanted []ocispec.Platform, say func(string)) error {
	f.wanted = wanted
	b, err := io.ReadAll(body)
	say("Loaded image: " + string(b) + "\n")
	return err
}

func (f *fake) Save(_ context.Context, _ []string, wanted []ocispec.Platform, out io.Writer) error {
	f.wanted = wanted
	if f.saveErr != nil {
		return f.saveErr
	}
	_, err := out.Write([]byte("tar"))
	return err
}

// ask sends a request and returns status and body.
func ask(t *testing.T, f *fake, method, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	httpapi.New(httpapi.Options{}, New(f)).ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// keys is the fields of a JSON object.
func keys(t *testing.T, body string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}

func TestInspectByVersion(t *testing.T) {
	now := []string{"Architecture", "Config", "Id", "Metadata", "Os", "RepoDigests", "RepoTags", "RootFS", "Size"}
	with := func(more ...string) []string { return slices.Sorted(slices.Values(append(more, now...))) }
	old := []string{"Author", "Comment", "DockerVersion", "GraphDriver", "Parent"}
	for version, want := range map[string][]string{
		"1.24": with(append(old, "Container", "ContainerConfig", "VirtualSize", "Created")...),
		"1.44": with(append(old, "Container", "ContainerConfig")...),
		"1.47": with(old...),
		"1.51": with(append(old, "Descriptor")...),
		"1.52": with("Descriptor"),
		"1.56": with("Descriptor"),
	} {
		_, body := ask(t, &fake{}, "GET", "/v"+version+"/images/x/json", "")
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(keys(t, body)))); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
	for version, want := range map[string]int{"1.49": 17, "1.51": 8, "1.52": 0} {
		_, body := ask(t, &fake{}, "GET", "/v"+version+"/images/x/json", "")
		if got := len(keys(t, body)["Config"].(map[string]any)); got != want {
			t.Errorf("%s: %d fields of Config, want %d", version, got, want)
		}
	}
}

func TestListByVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.24": `[{"Containers":-1,"Created":0,"Id":"sha256:1","Labels":null,"ParentId":"","RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"],"SharedSize":-1,"Size":7,"VirtualSize":7}]`,
		"1.43": `[{"Containers":-1,"Created":0,"Id":"sha256:1","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":7,"VirtualSize":7}]`,
		"1.47": `[{"Containers":-1,"Created":0,"Id":"sha256:1","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":7}]`,
		"1.51": `[{"Containers":3,"Created":0,"Id":"sha256:1","Labels":null,"ParentId":"","Descriptor":{"mediaType":"","digest":"","size":1},"RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":7}]`,
	} {
		if _, got := ask(t, &fake{}, "GET", "/v"+version+"/images/json", ""); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

func TestParameters(t *testing.T) {
	arm := `%7B%22os%22:%22linux%22,%22architecture%22:%22arm64%22%7D`
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"GET", "/v1.54/images/json?identity=1", "", 400, "conflicting options: identity requires manifests=1"},
		{"GET", "/v1.49/images/x/json?manifests=1&platform=" + arm, "", 400, "conflicting options: manifests and platform options cannot both be set"},
		{"GET", "/images/x/json?platform=%7B%22os%22:%22linux%22%7D", "", 400, "both OS and Architecture must be provided"},
		{"GET", "/images/x/json?platform=%7B%22variant%22:%22v7%22%7D", "", 400, "optional platform fields provided, but OS and Architecture are missing"},
		{"GET", "/images/nope/json", "", 404, "No such image: nope:latest"},
		{"GET", "/v1.51/images/x/get?platform=" + arm + "&platform=" + arm, "", 400, "multiple platform parameters are not supported in this API version; use API version 1.52 or later"},
		{"POST", "/images/x/tag?repo=BAD", "", 400, "invalid reference format: repository name (library/BAD) must be lowercase"},
		{"POST", "/images/x/tag?repo=sha256", "", 400, "refusing to create an ambiguous tag using digest algorithm as name"},
		{"DELETE", "/images/%20", "", 400, "image name cannot be blank"},
	} {
		status, body := ask(t, &fake{}, c.method, c.path, c.body)
		if got := keys(t, body)["message"]; status != c.status || got != c.message {
			t.Errorf("%s %s: %d %v, want %d %s", c.method, c.path, status, got, c.status, c.message)
		}
	}
}

func TestChanges(t *testing.T) {
	f := &fake{}
	if status, _ := ask(t, f, "POST", "/images/x/tag?repo=y&tag=2", ""); status != http.StatusCreated || f.tagged != "docker.io/library/y:2" {
		t.Errorf("tag: %d %s", status, f.tagged)
	}
	if status, body := ask(t, f, "DELETE", "/images/x?force=1&noprune=1", ""); status != 200 || body != `[{"Untagged":"x:1"}]` || !f.remove.Force || f.remove.PruneParents {
		t.Errorf("delete: %d %s %+v", status, body, f.remove)
	}
	if _, body := ask(t, f, "POST", "/images/prune", ""); body != `{"ImagesDeleted":null,"SpaceReclaimed":0}` {
		t.Errorf("prune: %s", body)
	}
	status, body := ask(t, f, "POST", "/commit?container=c&repo=r&pause=0&changes=CMD+x", `{"User":"u"}`)
	if status != http.StatusCreated || body != `{"Id":"sha256:2"}` || f.commit.Name != "docker.io/library/r:latest" || f.commit.Pause || f.commit.Config.User != "u" {
		t.Errorf("commit: %d %s %+v", status, body, f.commit)
	}
	if _, _ = ask(t, f, "POST", "/commit?container=c", `{}`); f.commit.Config != nil || !f.commit.Pause {
		t.Errorf("a commit without a configuration: %+v", f.commit)
	}
	if _, body := ask(t, f, "POST", "/images/load", "archive"); body != `{"stream":"Loaded image: archive\n"}` {
		t.Errorf("load: %s", body)
	}
	if status, body := ask(t, f, "GET", "/images/get?names=x", ""); status != 200 || body != "tar" {
		t.Errorf("save: %d %s", status, body)
	}
	f.saveErr = fault.Errorf(errdefs.ErrNotFound, "No such image: x:latest")
	if status, _ := ask(t, f, "GET", "/images/x/get", ""); status != 404 {
		t.Errorf("save of nothing: %d", status)
	}
}
