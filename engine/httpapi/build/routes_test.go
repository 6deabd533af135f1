package build

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	api "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/build"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
)

// builder notes what it is asked, says something, and fails as it is told.
type builder struct {
	asked *build.Request
	say   string
	err   error
}

func (b *builder) Build(_ context.Context, r *build.Request, out *progress.Writer) (string, error) {
	b.asked = r
	if b.say != "" {
		out.Stream(b.say)
	}
	return "sha256:id", b.err
}

func (b *builder) Prune(context.Context) *api.CachePruneReport { return &api.CachePruneReport{} }

// ask sends a request and returns the answer.
func ask(b *builder, path string, header http.Header) (int, string) {
	server := httpapi.New(httpapi.Options{Lowest: httpapi.MinVersion, Highest: httpapi.MaxVersion}, New(b, nil, false))
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("context"))
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return w.Code, strings.ReplaceAll(strings.TrimSpace(w.Body.String()), "\r\n", " ")
}

func TestParameters(t *testing.T) {
	plain := build.Request{Remove: true, Auths: map[string]registry.AuthConfig{}}
	for query, change := range map[string]func(r *build.Request){
		"":                      func(*build.Request) {},
		"dockerfile=d&target=t": func(r *build.Request) { r.Dockerfile, r.Target = "d", "t" },
		"t=a&t=b:c":             func(r *build.Request) { r.Tags = []string{"a", "b:c"} },
		"remote=r":              func(r *build.Request) { r.Remote = "r" },
		"rm=0":                  func(r *build.Request) { r.Remove = false },
		"rm=1&forcerm=1":        func(r *build.Request) { r.ForceRemove = true },
		"rm=0&forcerm=1":        func(r *build.Request) { r.ForceRemove = true },
		"nocache=1&pull=true":   func(r *build.Request) { r.NoCache, r.Pull = true, true },
		"q=no&nocache=false":    func(*build.Request) {},
		"networkmode=none&extrahosts=a:1&extrahosts=b:2": func(r *build.Request) {
			r.Network, r.ExtraHosts = "none", []string{"a:1", "b:2"}
		},
		"memory=1&memswap=-1&cpushares=2&cpuperiod=3&cpuquota=4&cpusetcpus=0&cpusetmems=1&cgroupparent=p&shmsize=5": func(r *build.Request) {
			r.Resources = container.Resources{
				Memory: 1, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CpusetCpus: "0", CpusetMems: "1", CgroupParent: "p",
			}
			r.ShmSize = 5
		},
		"memory=garbage": func(*build.Request) {},
		`ulimits=[{"Name":"n","Soft":1,"Hard":2}]`: func(r *build.Request) { r.Resources.Ulimits = []*container.Ulimit{{Name: "n", Soft: 1, Hard: 2}} },
		`buildargs={"A":"b","C":null}`:             func(r *build.Request) { r.Args = map[string]*string{"A": new("b"), "C": nil} },
		`labels={"a":"b"}&cachefrom=["x","y"]`: func(r *build.Request) {
			r.Labels, r.CacheFrom = map[string]string{"a": "b"}, []string{"x", "y"}
		},
		"platform=linux/arm64":         func(r *build.Request) { r.Platform = "linux/arm64" },
		"isolation=default&version=1":  func(r *build.Request) { r.Isolation = "default" },
		"session=s&buildid=i&outputs=": func(*build.Request) {},
	} {
		want := plain
		change(&want)
		b := &builder{}
		code, said := ask(b, "/v1.56/build?"+encode(query), nil)
		if code != http.StatusOK || b.asked == nil {
			t.Errorf("%s: %d %s", query, code, said)
			continue
		}
		if d := cmp.Diff(&want, b.asked, cmpopts.IgnoreFields(build.Request{}, "Context")); d != "" {
			t.Errorf("%s:\n%s", query, d)
		}
	}
}

// encode makes a query that may be sent.
func encode(query string) string {
	var pairs []string
	for p := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(p, "=")
		pairs = append(pairs, k+"="+url.QueryEscape(v))
	}
	return strings.Join(pairs, "&")
}

func TestVersions(t *testing.T) {
	for path, want := range map[string]build.Request{
		"/v1.29/build?platform=linux/arm64":       {NoAux: true},
		"/v1.30/build?platform=linux/arm64":       {},
		"/v1.32/build?platform=linux/arm64":       {Platform: "linux/arm64"},
		"/v1.39/build?outputs=garbage&platform=p": {Platform: "p"},
	} {
		b := &builder{}
		if code, said := ask(b, path, nil); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, said)
			continue
		}
		if b.asked.NoAux != want.NoAux || b.asked.Platform != want.Platform {
			t.Errorf("%s: %+v", path, b.asked)
		}
	}
}

func TestWrongParameters(t *testing.T) {
	for query, want := range map[string]string{
		"securityopt=x":     "security options are not supported on linux",
		"buildargs={":       "error reading build args: unexpected end of JSON input",
		"labels=[]":         "error reading labels: json: cannot unmarshal array into Go value of type map[string]string",
		"cachefrom=x":       "error reading cache-from: invalid character 'x' looking for beginning of value",
		"ulimits=x":         "error reading ulimit settings: invalid character 'x' looking for beginning of value",
		"outputs=x":         "invalid outputs specified: invalid character 'x' looking for beginning of value",
		"isolation=hyperv2": `unsupported isolation: "hyperv2"`,
		"version=9":         `invalid version "9"`,
		"squash=1":          "squash is only supported with experimental mode",
	} {
		b := &builder{}
		code, said := ask(b, "/v1.56/build?"+encode(query), nil)
		if code != http.StatusBadRequest || !strings.Contains(said, strings.ReplaceAll(want, `"`, `\"`)) || b.asked != nil {
			t.Errorf("%s: %d %s, want %s", query, code, said, want)
		}
	}
	if code, said := ask(&builder{}, "/v1.56/build?shmsize=x", nil); code != http.StatusInternalServerError {
		t.Errorf("shmsize: %d %s", code, said)
	}
	if code, said := ask(&builder{}, "/v1.56/build?version=2", nil); code != http.StatusNotImplemented {
		t.Errorf("BuildKit: %d %s", code, said)
	}
}

func TestAnswers(t *testing.T) {
	wrong := fault.Errorf(errdefs.ErrInvalidArgument, "wrong")
	failed := &jsonstream.Error{Code: 7, Message: "failed"}
	for _, test := range []struct {
		name  string
		b     builder
		query string
		code  int
		want  string
	}{
		{"all went well", builder{say: "text"}, "", 200, `{"stream":"text"}`},
		{"an error before anything was said", builder{err: wrong}, "", 400, `{"message":"wrong"}`},
		{"an error afterwards", builder{say: "text", err: wrong}, "", 200, `{"stream":"text"} {"error":"wrong","errorDetail":{"message":"wrong"}}`},
		{"a step that failed", builder{say: "text", err: failed}, "", 200, `{"stream":"text"} {"error":"failed","errorDetail":{"code":7,"message":"failed"}}`},
		{"only the id", builder{say: "text"}, "q=1", 200, `{"stream":"sha256:id\n"}`},
		{"an error tells all", builder{say: "text", err: wrong}, "q=1", 200, `{"stream":"text"} {"error":"wrong","errorDetail":{"message":"wrong"}}`},
		{"a quiet error", builder{err: errors.New("broken")}, "q=1", 500, `{"message":"broken"}`},
	} {
		if code, said := ask(&test.b, "/v1.56/build?"+test.query, nil); code != test.code || said != test.want {
			t.Errorf("%s: %d %s, want %d %s", test.name, code, said, test.code, test.want)
		}
	}
}

func TestContextIsNoForm(t *testing.T) {
	b := &builder{}
	code, _ := ask(b, "/v1.56/build?target=x", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	if code != http.StatusOK {
		t.Fatal(code)
	}
	if body, err := io.ReadAll(b.asked.Context); err != nil || string(body) != "context" {
		t.Errorf("the context is %q %v", body, err)
	}
}

func TestCredentials(t *testing.T) {
	good := base64.URLEncoding.EncodeToString([]byte(`{"host":{"username":"u"}}`))
	for header, want := range map[string]int{good: 1, "garbage": 0, "": 0, base64.URLEncoding.EncodeToString([]byte("[")): 0} {
		b := &builder{}
		if code, _ := ask(b, "/v1.56/build", http.Header{"X-Registry-Config": {header}}); code != http.StatusOK || len(b.asked.Auths) != want {
			t.Errorf("%q: %d %v", header, code, b.asked)
		}
	}
}

func TestPrune(t *testing.T) {
	for path, want := range map[string]string{
		"/v1.56/build/prune": `{"CachesDeleted":null,"SpaceReclaimed":0}`,
		"/v1.56/build/prune?all=1&filters={\"id\":[\"x\"]}":  `{"CachesDeleted":null,"SpaceReclaimed":0}`,
		"/v1.56/build/prune?filters={\"no\":[\"x\"]}":        `{"message":"failed to prune build cache: invalid filter 'no'"}`,
		"/v1.56/build/prune?filters=garbage":                 `{"message":"invalid filter`,
		"/v1.56/build/prune?keep-storage=x":                  `{"message":"keep-storage is in bytes and expects an integer, got x: strconv.Atoi`,
		"/v1.56/build/prune?keep-storage=x&reserved-space=1": `{"CachesDeleted":null,"SpaceReclaimed":0}`,
		"/v1.56/build/prune?max-used-space=x":                `{"message":"max-used-space is in bytes`,
		"/v1.47/build/prune?max-used-space=x":                `{"CachesDeleted":null,"SpaceReclaimed":0}`,
		"/v1.56/build/cancel":                                `{"message":"build ID not provided"}`,
		"/v1.56/build/cancel?id=x":                           ``,
	} {
		if code, said := ask(&builder{}, strings.ReplaceAll(path, `"`, "%22"), nil); !strings.HasPrefix(said, want) {
			t.Errorf("%s: %d %s, want %s", path, code, said, want)
		}
	}
	if code, _ := ask(&builder{}, "/v1.30/build/prune", nil); code == http.StatusOK {
		t.Errorf("prune in 1.30: %d", code)
	}
}

func FuzzParameters(f *testing.F) {
	for _, q := range []string{"t=a&rm=1", `buildargs={"A":null}`, "memory=-1", "%zz", "ulimits=[null]", "labels=null&cachefrom=[null]", "platform=%00"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodPost, "/build", http.NoBody)
		r.URL.RawQuery = query
		b, err := request(t.Context(), r)
		if (b == nil) == (err == nil) {
			t.Errorf("%q: %v %v", query, b, err)
		}
	})
}
