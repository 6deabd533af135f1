package debug_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/httpapi/debug"
)

func TestRoutes(t *testing.T) {
	h := httpapi.New(httpapi.Options{Server: "1", Lowest: "1.24", Highest: "1.56"}, debug.Routes())
	tests := map[string]struct {
		code int
		want string
	}{
		"/debug/vars":                     {http.StatusOK, `"memstats"`},
		"/debug/pprof/":                   {http.StatusOK, "goroutine"},
		"/debug/pprof/cmdline":            {http.StatusOK, "test"},
		"/debug/pprof/goroutine?debug=1":  {http.StatusOK, "goroutine profile: total"},
		"/v1.44/debug/pprof/heap?debug=1": {http.StatusOK, "heap profile"},
		"/debug/pprof/nothing":            {http.StatusNotFound, "Unknown profile"},
	}
	for path, test := range tests {
		t.Run(path, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %.200s\nwant %d %s", w.Code, w.Body.String(), test.code, test.want)
			}
		})
	}
}
