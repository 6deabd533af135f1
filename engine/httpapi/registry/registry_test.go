package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/pkg/authconfig"
	api "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/registry"
)

// fake tells what it was asked for.
type fake struct {
	asked    string
	told     string // before err
	err      error
	imported Import
}

func (f *fake) transfer(what string, ref reference.Named, r registry.Request, out *progress.Writer) error {
	f.asked = what + " " + ref.String()
	if r.Platform != nil {
		f.asked += " for " + platforms.FormatAll(*r.Platform)
	}
	if r.Auth.Username != "" {
		f.asked += " by " + r.Auth.Username
	}
	if f.told != "" {
		out.Message("", f.told)
	}
	return f.err
}

func (f *fake) Pull(_ context.Context, ref reference.Named, r registry.Request, out *progress.Writer) error {
	return f.transfer("pull", ref, r, out)
}

func (f *fake) Push(_ context.Context, ref reference.Named, r registry.Request, out *progress.Writer) error {
	return f.transfer("push", ref, r, out)
}

func (f *fake) Login(_ context.Context, r registry.Request) (string, error) {
	f.asked = "login " + r.Auth.Username
	return "token", f.err
}

func (f *fake) Search(_ context.Context, q registry.Search, _ registry.Request) ([]api.SearchResult, error) {
	f.asked = fmt.Sprintf("search %s %d %d %t", q.Term, q.Limit, q.Stars, q.Official != nil && *q.Official)
	return []api.SearchResult{}, f.err
}

func (f *fake) Inspect(_ context.Context, ref reference.Named, _ registry.Request) (*api.DistributionInspect, error) {
	f.asked = "inspect " + ref.String()
	return &api.DistributionInspect{Descriptor: ocispec.Descriptor{Size: 1}}, f.err
}

func (f *fake) Import(_ context.Context, r io.Reader, i Import) (digest.Digest, error) {
	b, err := io.ReadAll(r)
	f.asked, f.imported = "import "+string(b), i
	return "sha256:id", errors.Join(err, f.err)
}

func TestRoutes(t *testing.T) {
	archive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/archive" {
			http.Error(w, "not here", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "archive")
	}))
	defer archive.Close()
	auth, err := authconfig.Encode(api.AuthConfig{Username: "joe"})
	if err != nil {
		t.Fatal(err)
	}
	notFound := fault.Errorf(errdefs.ErrNotFound, "no")
	busybox := "docker.io/library/busybox:latest"
	for _, c := range []struct {
		request string
		body    string
		fake    fake
		asked   string
		status  int
		answer  string
	}{
		{request: "POST /images/create?fromImage=busybox&tag=latest", asked: "pull " + busybox + " by joe", status: 200},
		{request: "POST /images/create?fromImage=busybox:", asked: "pull docker.io/library/busybox by joe", status: 200},
		{request: "POST /images/create?fromImage=a/b&tag=sha256:" + strings.Repeat("0", 64), asked: "pull docker.io/a/b@sha256:" + strings.Repeat("0", 64) + " by joe", status: 200},
		{request: "POST /images/create?fromImage=busybox:latest&platform=linux/arm64", asked: "pull " + busybox + " for linux/arm64 by joe", status: 200},
		{request: "POST /v1.31/images/create?fromImage=busybox:latest&platform=linux/arm64", asked: "pull " + busybox + " by joe", status: 200},
		{request: "POST /images/create?fromImage=busybox&platform=linux/%20", status: 400, answer: "invalid component"},
		{request: "POST /images/create?fromImage=scratch", status: 403, answer: `{"message":"'scratch' is a reserved name"}`},
		{request: "POST /images/create?fromImage=UP", status: 400, answer: "must be lowercase"},
		{request: "POST /images/create?fromImage=a&tag=::", status: 400, answer: `{"message":"invalid tag format"}`},
		{request: "POST /images/create?fromImage=a", fake: fake{err: notFound}, asked: "pull docker.io/library/a by joe", status: 404, answer: `{"message":"no"}`},
		{
			request: "POST /images/create?fromImage=a", fake: fake{told: "x", err: notFound}, asked: "pull docker.io/library/a by joe", status: 200,
			answer: "{\"status\":\"x\"}\r\n{\"error\":\"no\",\"errorDetail\":{\"message\":\"no\"}}\r\n",
		},
		{request: "POST /images/create?fromSrc=-&repo=a&message=m&changes=CMD+x", body: "tar", asked: "import tar", status: 200, answer: "{\"status\":\"sha256:id\"}\r\n"},
		{request: "POST /images/create?fromSrc=" + url.QueryEscape(archive.URL+"/archive"), asked: "import archive", status: 200, answer: "Downloading from"},
		{request: "POST /images/create?fromSrc=" + url.QueryEscape(archive.URL+"/none"), status: 404, answer: "with status 404 Not Found: not here"},
		{request: "POST /images/create?fromSrc=-&repo=a@sha256:" + strings.Repeat("0", 64), status: 400, answer: "cannot import digest reference"},
		{request: "POST /images/a/b/push?tag=v1", asked: "push docker.io/a/b:v1 by joe", status: 200},
		{request: "POST /images/a/b/push", asked: "push docker.io/a/b by joe", status: 200},
		{request: "POST /images/a/push?tag=1&platform=" + url.QueryEscape(`{"os":"linux","architecture":"arm64"}`), asked: "push docker.io/library/a:1 for linux/arm64 by joe", status: 200},
		{request: "POST /v1.45/images/a/push?tag=1&platform=x", asked: "push docker.io/library/a:1 by joe", status: 200},
		{request: "POST /images/a/push?platform=x", status: 400, answer: "failed to parse platform"},
		{request: "POST /images/a/push?platform=" + url.QueryEscape(`{"os":"linux"}`), status: 400, answer: "both OS and Architecture must be provided"},
		{request: "POST /images/a/push?platform=" + url.QueryEscape(`{"variant":"v1"}`), status: 400, answer: "optional platform fields provided"},
		{request: "POST /auth", body: `{"username":"ann"}`, asked: "login ann", status: 200, answer: `{"IdentityToken":"token","Status":"Login Succeeded"}` + "\n"},
		{request: "POST /auth", body: `{`, status: 400, answer: `{"message":"invalid X-Registry-Auth header: invalid JSON: unexpected EOF"}`},
		{request: "GET /images/search?term=a&limit=7&filters=" + url.QueryEscape(`{"stars":{"3":true,"2":true},"is-official":{"true":true}}`), asked: "search a 7 3 true", status: 200, answer: "[]\n"},
		{request: "GET /images/search?term=a&limit=x", status: 400, answer: `{"message":"invalid limit specified: strconv.Atoi: parsing \"x\": invalid syntax"}`},
		{request: "GET /images/search?term=a&limit=-1", status: 400, answer: "invalid limit specified"},
		{request: "GET /images/search?filters=" + url.QueryEscape(`{"x":["y"]}`), status: 400, answer: `{"message":"invalid filter 'x'"}`},
		{request: "GET /images/search?filters=" + url.QueryEscape(`{"stars":["y"]}`), status: 400, answer: `invalid filter 'stars=y': strconv.Atoi`},
		{request: "GET /images/search?filters=" + url.QueryEscape(`{"is-official":["y"]}`), status: 400, answer: `{"message":"invalid filter 'is-official=[y]'"}`},
		{request: "GET /distribution/a/b:c/json", asked: "inspect docker.io/a/b:c", status: 200, answer: `{"Descriptor":{"mediaType":"","digest":"","size":1},"Platforms":null}` + "\n"},
		{request: "GET /distribution/" + strings.Repeat("0", 64) + "/json", status: 500, answer: `{"message":"no manifest found for full image ID"}`},
		{request: "GET /distribution/scratch/json", status: 400, answer: "is a reserved name"},
	} {
		method, address, _ := strings.Cut(c.request, " ")
		r := httptest.NewRequest(method, address, strings.NewReader(c.body))
		r.Header.Set(api.AuthHeader, auth)
		w := httptest.NewRecorder()
		f := c.fake
		httpapi.New(httpapi.Options{}, New(&f, &f)).ServeHTTP(w, r)
		if f.asked != c.asked || w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) {
			t.Errorf("%s: %q, %d %q", c.request, f.asked, w.Code, w.Body)
		}
		if d := cmp.Diff("application/json", w.Header().Get("Content-Type")); d != "" {
			t.Error(d)
		}
		want := Import{Name: "docker.io/library/a:latest", Message: "m", Changes: []string{"CMD x"}}
		if d := cmp.Diff(want, f.imported); f.asked == "import tar" && d != "" {
			t.Error(d)
		}
	}
}

// Credentials that cannot be read are none.
func TestGarbageCredentials(t *testing.T) {
	var f fake
	r := httptest.NewRequest(http.MethodPost, "/images/create?fromImage=a", nil)
	r.Header.Set(api.AuthHeader, "!!!")
	w := httptest.NewRecorder()
	httpapi.New(httpapi.Options{}, New(&f, &f)).ServeHTTP(w, r)
	if w.Code != http.StatusOK || f.asked != "pull docker.io/library/a" {
		t.Error(w.Code, f.asked)
	}
}
