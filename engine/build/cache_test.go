package build

import (
	"archive/tar"
	"context"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/images"
)

func TestFingertold(t *testing.T) {
	told := func(c api.Config) string {
		s, err := fingerprint(&c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	base := api.Config{Cmd: []string{"a", "b"}, Env: []string{"A=1"}}
	same := []api.Config{
		{Cmd: []string{"a", "b"}, Env: []string{"A=1"}, Hostname: "h", Domainname: "d", Image: "i"},
		{Cmd: []string{"a", "b"}, Env: []string{"A=1"}, Entrypoint: []string{}, Volumes: map[string]struct{}{}, Labels: map[string]string{}, OnBuild: []string{}},
	}
	for _, c := range same {
		if told(c) != told(base) {
			t.Errorf("%+v has another fingerprint", c)
		}
	}
	stop := 3
	others := map[string]func(c *api.Config){
		"cmd": func(c *api.Config) { c.Cmd = []string{"a b"} }, "env": func(c *api.Config) { c.Env = []string{"A=2"} },
		"more env": func(c *api.Config) { c.Env = append(c.Env, "B=1") }, "entrypoint": func(c *api.Config) { c.Entrypoint = []string{"x"} },
		"user": func(c *api.Config) { c.User = "u" }, "workdir": func(c *api.Config) { c.WorkingDir = "/w" },
		"labels": func(c *api.Config) { c.Labels = map[string]string{"a": "b"} }, "shell": func(c *api.Config) { c.Shell = []string{"x"} },
		"volumes": func(c *api.Config) { c.Volumes = map[string]struct{}{"/v": {}} }, "onbuild": func(c *api.Config) { c.OnBuild = []string{"RUN x"} },
		"ports":       func(c *api.Config) { c.ExposedPorts = network.PortSet{network.MustParsePort("1/tcp"): {}} },
		"signal":      func(c *api.Config) { c.StopSignal = "9" },
		"timeout":     func(c *api.Config) { c.StopTimeout = &stop },
		"healthcheck": func(c *api.Config) { c.Healthcheck = &api.HealthConfig{Test: []string{"NONE"}} },
		"interval":    func(c *api.Config) { c.Healthcheck = &api.HealthConfig{StartInterval: time.Second} },
		"tty":         func(c *api.Config) { c.Tty = true },
	}
	seen := map[string]string{told(base): "base"}
	for name, change := range others {
		c := api.Config{Cmd: []string{"a", "b"}, Env: []string{"A=1"}}
		change(&c)
		if before, ok := seen[told(c)]; ok {
			t.Errorf("%s and %s have the same fingerprint", name, before)
		}
		seen[told(c)] = name
	}
}

func TestContinues(t *testing.T) {
	image := func(commands ...string) *images.Image {
		img := &images.Image{}
		for _, c := range commands {
			img.Config.History = append(img.Config.History, ocispec.History{CreatedBy: c})
		}
		return img
	}
	goal := image("a", "b", "c")
	for _, test := range []struct {
		parent  *images.Image
		command string
		want    bool
	}{
		{nil, "a", true},
		{nil, "b", false},
		{image("a"), "b", true},
		{image("a"), "c", false},
		{image("x"), "b", false},
		{image("a", "b"), "c", true},
		{image("a", "b", "c"), "d", false},
		{image("a", "b", "c", "d"), "e", false},
	} {
		if got := continues(goal, test.parent, test.command); got != test.want {
			t.Errorf("%v then %s: %v", test.parent, test.command, got)
		}
	}
	layers := image("a")
	layers.Config.RootFS.DiffIDs = append(layers.Config.RootFS.DiffIDs, "other")
	if continues(goal, layers, "b") {
		t.Error("an image with other layers is a parent")
	}
}

// timed and executable are headers of the same file with another time, another mode.
var (
	timed      = tar.Header{ModTime: time.Unix(1e9, 0)}
	executable = tar.Header{Mode: 0o755}
)

const cachedFile = "FROM base\nENV A=1\nCOPY f /f\nRUN one\nRUN two\nHEALTHCHECK --interval=1s CMD x\nHEALTHCHECK CMD y\n"

// hits is how many steps of a build were taken from the cache.
func (w *world) hits(file string, r Request, entries ...entry) int {
	w.t.Helper()
	said, err := w.build(file, r, entries...)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(said, "---> Using cache")
}

func TestCache(t *testing.T) {
	w := newWorld(t)
	f := entry{name: "f", text: "text"}
	for _, test := range []struct {
		name string
		file string
		r    Request
		f    entry
		want int
	}{
		{"the first time", cachedFile, Request{}, f, 0},
		{"again", cachedFile, Request{}, f, 6},
		{"times do not count", cachedFile, Request{}, entry{name: "f", text: "text", header: timed}, 6},
		{"content counts, and all that follows is built", cachedFile, Request{}, entry{name: "f", text: "else"}, 1},
		{"modes count", cachedFile, Request{}, entry{name: "f", text: "text", header: executable}, 1},
		{"not when the client does not want it", cachedFile, Request{NoCache: true}, f, 0},
		{"a command in the middle", strings.Replace(cachedFile, "RUN one", "RUN other", 1), Request{}, f, 2},
		{"after a change of the environment", strings.Replace(cachedFile, "A=1", "A=2", 1), Request{}, f, 0},
		{"arguments that RUN sees", "FROM base\nARG X\nRUN one", Request{Args: map[string]*string{"X": new("1")}}, f, 0},
		{"the same", "FROM base\nARG X\nRUN one", Request{Args: map[string]*string{"X": new("1")}}, f, 2},
		{"another value", "FROM base\nARG X\nRUN one", Request{Args: map[string]*string{"X": new("2")}}, f, 1},
		{"a proxy", "FROM base\nRUN proxied", Request{Args: map[string]*string{"http_proxy": new("1")}}, f, 0},
		{"another proxy", "FROM base\nRUN proxied", Request{Args: map[string]*string{"http_proxy": new("2")}}, f, 1},
		{"the next stage looks again", "FROM base\nENV NEW=1\nFROM base\nENV A=1\nCOPY f /f", Request{}, f, 2},
	} {
		if got := w.hits(test.file, test.r, test.f); got != test.want {
			t.Errorf("%s: %d steps are from the cache, want %d", test.name, got, test.want)
		}
	}
}

// TestCacheIsBuiltHere: an image that came from elsewhere and says that it was built so is not taken (CVE-2024-24557).
func TestCacheIsBuiltHere(t *testing.T) {
	w := newWorld(t)
	w.hits("FROM base\nRUN one", Request{})
	made := w.last()
	w.by[made.Target.Digest] = nil
	if n := w.hits("FROM base\nRUN one", Request{}); n != 0 {
		t.Error("an image that was not built here was taken")
	}
	w.by[w.last().Target.Digest] = nil
	w.tags["trusted"] = made.Target.Digest
	if n := w.hits("FROM base\nRUN one", Request{CacheFrom: []string{"trusted", "absent"}}); n != 1 {
		t.Error("an image that the client named was not taken")
	}
}

func TestCacheFrom(t *testing.T) {
	w := newWorld(t)
	file := "FROM base\nENV A=1\nENV B=2\nENV C=3"
	w.hits(file, Request{})
	goal := w.last()
	w.tags["goal"] = goal.Target.Digest
	for id := range w.by {
		w.by[id] = nil // All come from somewhere else, without their parents.
	}
	goal.Parent = ""
	if n := w.hits(file, Request{CacheFrom: []string{"goal"}}); n != 3 {
		t.Errorf("%d steps are from the cache", n)
	}
	if goal.Parent == "" || !w.Descends(context.Background(), goal, w.tags["base"]) {
		t.Error("the image does not know its parents")
	}
	if n := w.hits("FROM base\nENV A=1\nENV X=2", Request{CacheFrom: []string{"goal"}}); n != 1 {
		t.Errorf("%d steps of another file are from the cache", n)
	}
}
