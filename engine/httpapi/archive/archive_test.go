package archive

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/archive"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// fake answers with what it was asked for.
type fake struct{ put string }

func (f *fake) Stat(_ context.Context, ref, path string) (*api.PathStat, error) {
	if path == "/none" {
		return nil, fault.Errorf(errdefs.ErrNotFound, "Could not find the file %s in container %s", path, ref)
	}
	return &api.PathStat{Name: "name", Size: 5, Mode: 0o644, LinkTarget: "/t"}, nil
}

func (f *fake) Get(ctx context.Context, ref, path string) (io.ReadCloser, *api.PathStat, error) {
	st, err := f.Stat(ctx, ref, path)
	return io.NopCloser(strings.NewReader("tar of " + path)), st, err
}

func (f *fake) Put(_ context.Context, ref string, p archive.Put, body io.Reader) error {
	b, err := io.ReadAll(body)
	f.put = fmt.Sprintf("%s %+v %s", ref, p, b)
	return err
}

func (f *fake) Export(_ context.Context, ref string, w io.Writer) error {
	_, err := io.WriteString(w, "root of "+ref)
	return err
}

func (f *fake) Changes(context.Context, string) ([]api.FilesystemChange, error) { return nil, nil }

func TestArchive(t *testing.T) {
	f := &fake{}
	h := httpapi.New(httpapi.Options{}, New(f))
	for _, test := range []struct {
		request string
		code    int
		want    string
	}{
		{"GET /containers/c/archive?path=/x", 200, "tar of /x"},
		{"GET /containers/c/archive", 400, `{"message":"bad parameter: path cannot be empty"}` + "\n"},
		{"GET /containers/c/archive?path=/none", 404, `{"message":"Could not find the file /none in container c"}` + "\n"},
		{"HEAD /containers/c/archive?path=/x", 200, ""},
		{"HEAD /containers/c/archive?path=/none", 404, `{"message":"Could not find the file /none in container c"}` + "\n"}, // The server cuts it off.
		{"PUT /containers/c/archive?path=/x&noOverwriteDirNonDir=1&copyUIDGID=true", 200, ""},
		{"GET /containers/c/export", 200, "root of c"},
		{"GET /containers/c/changes", 200, "null\n"},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("body")))
		if w.Code != test.code || w.Body.String() != test.want {
			t.Errorf("%s: %d %q", test.request, w.Code, w.Body)
		}
		stat, err := base64.StdEncoding.DecodeString(w.Header().Get("X-Docker-Container-Path-Stat"))
		want := `{"name":"name","size":5,"mode":420,"mtime":"0001-01-01T00:00:00Z","linkTarget":"/t"}`
		if strings.Contains(test.request, "path=/x") && method != "PUT" && (string(stat) != want || err != nil) {
			t.Errorf("%s: %s, %v", test.request, stat, err)
		}
	}
	if want := "c {Path:/x KeepKind:true Own:true} body"; f.put != want {
		t.Errorf("put: %s, want %s", f.put, want)
	}
	r := httptest.NewRequest("GET", "/containers/c/archive?path=/x", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	zr, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(zr); string(b) != "tar of /x" || err != nil || w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("gzip: %s, %v", b, err)
	}
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"": "identity", "gzip": "gzip", "deflate, gzip": "gzip", "deflate;q=1.0, gzip;q=0.5": "deflate", "br": "identity",
		"*": "gzip", "gzip;q=0": "identity", "GZIP ; q=0.1": "gzip", "gzip;q=x": "identity", "identity": "identity",
	} {
		if got := negotiate([]string{accept}); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}
