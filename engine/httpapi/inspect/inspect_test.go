package inspect

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/stats"
	"github.com/gantry-containers/gantry/engine/views"
)

// world notes what it was asked.
type world struct {
	list  views.ListOptions
	ref   string
	size  bool
	stats stats.Options
}

func (w *world) ListJSON(_ context.Context, o views.ListOptions, before func(string) bool) ([]byte, error) {
	w.list = o
	if before("1.44") {
		return []byte("[\"old\"]\n"), nil
	}
	return []byte("[]\n"), nil
}

func (w *world) Inspect(_ context.Context, ref string, size bool) (*api.InspectResponse, error) {
	w.ref, w.size = ref, size
	return &api.InspectResponse{}, nil
}
func (w *world) ForVersion(*api.InspectResponse, func(string) bool) any { return "one" }
func (w *world) Top(_ context.Context, ref, args string) (*api.TopResponse, error) {
	return &api.TopResponse{Titles: []string{ref, args}}, nil
}

func (w *world) Write(_ context.Context, _ string, o stats.Options, open func() io.Writer) error {
	w.stats = o
	_, err := io.WriteString(open(), "{}\n")
	return err
}

func TestRoutes(t *testing.T) {
	for _, tc := range []struct {
		path, body string
		code       int
		want       world
	}{
		{"/v1.24/containers/json", "[\"old\"]\n", 200, world{list: views.ListOptions{Filters: filters.Args{}}}},
		{"/containers/json?all=1&size=true&limit=3", "[]\n", 200, world{list: views.ListOptions{All: true, Size: true, Limit: 3, Filters: filters.Args{}}}},
		{`/containers/json?filters={"a":["b"]}`, "[]\n", 200, world{list: views.ListOptions{Filters: filters.Args{"a": {"b": true}}}}},
		{"/containers/json?limit=x", `strconv.Atoi: parsing \"x\": invalid syntax`, 400, world{}},
		{"/containers/json?filters=x", "invalid filter", 400, world{}},
		{"/containers/a/json?size=1", "\"one\"\n", 200, world{ref: "a", size: true}},
		{"/containers/a/top?ps_args=-x", `"Titles":["a","-x"]`, 200, world{}},
		{"/containers/a/stats", "{}\n", 200, world{stats: stats.Options{Stream: true}}},
		{"/containers/a/stats?stream=0&one-shot=1", "{}\n", 200, world{stats: stats.Options{OneShot: true}}},
		{"/v1.40/containers/a/stats?stream=0&one-shot=1", "{}\n", 200, world{}}, // it came with 1.41
	} {
		var w world
		rec := httptest.NewRecorder()
		httpapi.New(httpapi.Options{}, New(&w, &w)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, strings.ReplaceAll(tc.path, `"`, "%22"), nil))
		if rec.Code != tc.code || !strings.Contains(rec.Body.String(), tc.body) {
			t.Errorf("%s: %d %s", tc.path, rec.Code, rec.Body)
		}
		if d := cmp.Diff(tc.want, w, cmp.AllowUnexported(world{})); d != "" {
			t.Errorf("%s: %s", tc.path, d)
		}
	}
}
