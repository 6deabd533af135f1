package containers

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// fake answers with what a test wants, and keeps what it was asked.
type fake struct {
	err     error
	asked   any
	results chan containers.Result
}

func (f *fake) Start(_ context.Context, ref string) error {
	f.asked = "start " + ref
	return f.err
}

func (f *fake) Stop(_ context.Context, _ string, o containers.Stop) error {
	f.asked = o
	return f.err
}

func (f *fake) Restart(_ context.Context, _ string, o containers.Stop) error {
	f.asked = o
	return f.err
}

func (f *fake) Kill(_ context.Context, _, signal string) error {
	f.asked = "kill " + signal
	return f.err
}

func (f *fake) Pause(context.Context, string) error   { return f.err }
func (f *fake) Unpause(context.Context, string) error { return f.err }

func (f *fake) Wait(_ context.Context, _ string, c api.WaitCondition) (<-chan containers.Result, error) {
	f.asked = c
	return f.results, f.err
}

func (f *fake) Create(_ context.Context, c containers.Create) (api.CreateResponse, error) {
	f.asked = c
	return api.CreateResponse{ID: "id", Warnings: []string{}}, f.err
}

func (f *fake) Rename(_ context.Context, ref, name string) error {
	f.asked = ref + " " + name
	return f.err
}

func (f *fake) Update(_ context.Context, _ string, _ api.UpdateConfig, version string) (api.UpdateResponse, error) {
	f.asked = version
	return api.UpdateResponse{}, f.err
}

func (f *fake) Remove(_ context.Context, _ string, o containers.Remove) error {
	f.asked = o
	return f.err
}

func (f *fake) Prune(_ context.Context, o containers.Prune) (*api.PruneReport, error) {
	f.asked = o
	return &api.PruneReport{}, f.err
}

func serve(t *testing.T, f *fake) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(httpapi.New(httpapi.Options{Server: "test"}, New(f)))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, s *httptest.Server, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestAnswers(t *testing.T) {
	seven := 7
	for name, tc := range map[string]struct {
		method, path, body string
		err                error
		status             int
		answer             string
		asked              any
	}{
		"start":           {path: "/v1.50/containers/a/start", status: 204, asked: "start a"},
		"start by a path": {path: "/containers/a/b/start", status: 204, asked: "start a/b"},
		"start with body": {
			path: "/v1.50/containers/a/start", body: `{"Binds": []}`, status: 400,
			answer: `{"message":"starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"}`,
		},
		"start of a checkpoint": {path: "/v1.50/containers/a/start?checkpoint=xy", status: 400, answer: `{"message":"checkpoint is only supported in experimental mode"}`},
		"start outside": {
			path: "/v1.50/containers/a/start?checkpoint=../x", status: 400,
			answer: `{"message":"invalid checkpoint ID \"../x\", only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"}`,
		},
		"started before":       {path: "/v1.50/containers/a/start", err: fault.Errorf(errdefs.ErrNotModified, "x"), status: 304, asked: "start a"},
		"stop":                 {path: "/v1.42/containers/a/stop?t=7&signal=INT", status: 204, asked: containers.Stop{Signal: "INT", Timeout: &seven}},
		"stop, older":          {path: "/v1.41/containers/a/stop?t=7&signal=INT", status: 204, asked: containers.Stop{Timeout: &seven}},
		"stop, bad time":       {path: "/v1.50/containers/a/stop?t=x", status: 400, answer: `{"message":"strconv.Atoi: parsing \"x\": invalid syntax"}`},
		"restart, bad time":    {path: "/v1.50/containers/a/restart?t=x", status: 500, answer: `{"message":"strconv.Atoi: parsing \"x\": invalid syntax"}`},
		"restart":              {path: "/v1.50/containers/a/restart?signal=INT", status: 204, asked: containers.Stop{Signal: "INT"}},
		"kill":                 {path: "/v1.50/containers/a/kill?signal=HUP", status: 204, asked: "kill HUP"},
		"pause, a conflict":    {path: "/v1.50/containers/a/pause", err: fault.Errorf(errdefs.ErrConflict, "no"), status: 409, answer: `{"message":"no"}`},
		"unpause":              {path: "/v1.50/containers/a/unpause", status: 204},
		"rename":               {path: "/v1.50/containers/a/rename?name=b", status: 204, asked: "a b"},
		"update":               {path: "/v1.39/containers/a/update", body: `{}`, status: 200, answer: `{"Warnings":null}`, asked: "1.39"},
		"remove":               {method: "DELETE", path: "/v1.50/containers/a?v=1&force=true", status: 204, asked: containers.Remove{Force: true, Volumes: true}},
		"no such":              {method: "DELETE", path: "/v1.50/containers/a", err: fault.Errorf(errdefs.ErrNotFound, "No such container: a"), status: 404, answer: `{"message":"No such container: a"}`, asked: containers.Remove{}},
		"prune, bad filter":    {path: `/v1.50/containers/prune?filters={"x":["y"]}`, status: 400, answer: `{"message":"invalid filter 'x'"}`},
		"prune, bad time":      {path: `/v1.50/containers/prune?filters={"until":["x"]}`, status: 400, answer: `{"message":"failed to parse value as time or duration: invalid seconds \"x\": invalid syntax"}`},
		"create":               {path: "/v1.50/containers/create?name=n", body: `{"Image":"i"}`, status: 201, answer: `{"Id":"id","Warnings":[]}`},
		"create, bad platform": {path: "/v1.50/containers/create?platform=a/b/c/d", body: `{"Image":"i"}`, status: 400},
		"wait, bad condition":  {path: "/v1.50/containers/a/wait?condition=x", status: 400, answer: `{"message":"invalid condition: \"x\""}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{err: tc.err}
			if tc.method == "" {
				tc.method = http.MethodPost
			}
			status, answer := ask(t, serve(t, f), tc.method, tc.path, tc.body)
			if status != tc.status || tc.answer != "" && answer != tc.answer {
				t.Errorf("got %d %s, want %d %s", status, answer, tc.status, tc.answer)
			}
			if tc.asked != nil {
				if d := cmp.Diff(tc.asked, f.asked); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestCreateKeepsTheBody(t *testing.T) {
	f := &fake{}
	const body = `{"Image":"i","MacAddress":"02:42:ac:11:00:02","HostConfig":{"NetworkMode":"none"}}`
	if status, answer := ask(t, serve(t, f), http.MethodPost, "/v1.40/containers/create?platform=linux/arm64", body); status != 201 {
		t.Fatal(status, answer)
	}
	c, _ := f.asked.(containers.Create)
	if string(c.Body) != body || c.Version != "1.40" || c.Config.Image != "i" || c.HostConfig.NetworkMode != "none" || c.Platform != nil {
		t.Errorf("%+v", c)
	}
}

// TestWait checks that the header comes before the result, and what the result is by version.
func TestWait(t *testing.T) {
	for name, tc := range map[string]struct {
		path   string
		late   bool // the header comes with the result
		result containers.Result
		want   string
		asked  api.WaitCondition
	}{
		"plain":          {"/v1.50/containers/a/wait", false, containers.Result{ExitCode: 3}, `{"StatusCode":3}`, api.WaitConditionNotRunning},
		"next exit":      {"/v1.50/containers/a/wait?condition=next-exit", false, containers.Result{}, `{"StatusCode":0}`, api.WaitConditionNextExit},
		"error":          {"/v1.50/containers/a/wait?condition=removed", false, containers.Result{Error: "x"}, `{"Error":{"Message":"x"},"StatusCode":0}`, api.WaitConditionRemoved},
		"error of old":   {"/v1.33/containers/a/wait?condition=removed", false, containers.Result{Error: "x"}, ``, api.WaitConditionRemoved},
		"without header": {"/v1.29/containers/a/wait?condition=removed", true, containers.Result{ExitCode: 3}, `{"StatusCode":3}`, api.WaitConditionNotRunning},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{results: make(chan containers.Result, 1)}
			s := serve(t, f)
			if tc.late {
				f.results <- tc.result
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client().Do(req) // Without a header it would not return.
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if !tc.late {
				f.results <- tc.result
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || strings.TrimSpace(string(b)) != tc.want || f.asked != tc.asked {
				t.Errorf("got %d %s %v, %v; want %s", resp.StatusCode, b, f.asked, err, tc.want)
			}
		})
	}
}

func TestPruneFilters(t *testing.T) {
	f := &fake{}
	status, answer := ask(t, serve(t, f), http.MethodPost, `/v1.50/containers/prune?filters={"label":["a=1"],"label!":["b"],"until":["100.5"]}`, "")
	if status != 200 || answer != `{"ContainersDeleted":null,"SpaceReclaimed":0}` {
		t.Fatal(status, answer)
	}
	o, _ := f.asked.(containers.Prune)
	if !o.Until.Equal(time.Unix(100, 500_000_000)) {
		t.Errorf("until %v", o.Until)
	}
	for _, tc := range []struct {
		labels map[string]string
		goes   bool
	}{
		{map[string]string{"a": "1"}, true},
		{map[string]string{"a": "2"}, false},
		{map[string]string{"a": "1", "b": "x"}, false},
		{nil, false},
	} {
		if got := o.Labels(tc.labels); got != tc.goes {
			t.Errorf("%v: %v", tc.labels, got)
		}
	}
}
