package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
)

var ids = regexp.MustCompile(`[0-9a-f]{12}\b`)

func TestOutput(t *testing.T) {
	w := newWorld(t)
	w.run = func(c *api.Config, _ string, out, errs io.Writer) int {
		fmt.Fprint(out, strings.Join(c.Cmd, " ")+"\n")
		if strings.Contains(c.Cmd[len(c.Cmd)-1], "wrong") {
			fmt.Fprint(errs, "wrong\n")
			return 3
		}
		return 0
	}
	said, err := w.build("ARG B=base\nFROM $B AS x\nENV A=1\nRUN do\nFROM scratch\nLABEL a=b\n", Request{
		Remove: true, Tags: []string{"name", "", "name:latest", "other:2"}, Args: map[string]*string{"U": nil}, Labels: map[string]string{"l": "m"},
	})
	must(t, err)
	want := `Step 1/7 : ARG B=base
Step 2/7 : FROM $B AS x
 ---> ID
Step 3/7 : ENV A=1
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
Step 4/7 : RUN do
 ---> Running in ID
/bin/sh -c do
 ---> Removed intermediate container ID
 ---> ID
Step 5/7 : FROM scratch
 ---> 
Step 6/7 : LABEL a=b
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
Step 7/7 : LABEL l=m
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
[Warning] One or more build-args [U] were not consumed
Successfully built ID
Successfully tagged name:latest
Successfully tagged other:2
`
	if d := cmp.Diff(want, ids.ReplaceAllString(said, "ID")); d != "" {
		t.Error(d)
	}
	if len(w.containers) > 0 {
		t.Errorf("containers are left: %v", w.containers)
	}
	_, err = w.build("FROM base\nRUN wrong", Request{Remove: true})
	failed, ok := errors.AsType[*jsonstream.Error](err)
	if !ok || failed.Code != 3 || failed.Message != "The command '/bin/sh -c wrong' returned a non-zero code: 3" {
		t.Errorf("%#v", err)
	}
	if len(w.containers) != 1 {
		t.Errorf("the container of a step that failed is not left: %v", w.containers)
	}
	if _, err = w.build("FROM base\nRUN wrong", Request{ForceRemove: true}); err == nil || len(w.containers) != 1 {
		t.Errorf("--force-rm: %v %v", err, w.containers)
	}
	if _, err := w.build("FROM base\nRUN [\"missing\"]", Request{ForceRemove: true}); err == nil || err.Error() != "no such program" {
		t.Errorf("a program that is missing: %v", err)
	}
	if _, err := w.build("FROM base\nENV Z=1\nRUN other", Request{}); err != nil || len(w.containers) != 3 {
		t.Errorf("without --rm: %v %v", err, w.containers)
	}
	w.clean()
}

// TestConfig: what instructions leave in the image.
func TestConfig(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		lines string
		check func(c *api.Config) bool
	}{
		{"ENV A=1 B=$A\nENV C=$A$B A=2", func(c *api.Config) bool { return cmp.Equal(c.Env[1:], []string{"A=2", "B=", "C=1"}) }},
		{"ARG X=1\nENV A=$X", func(c *api.Config) bool { return cmp.Equal(c.Env[1:], []string{"A=1"}) }},
		{"CMD a b", func(c *api.Config) bool { return cmp.Equal(c.Cmd, []string{"/bin/sh", "-c", "a b"}) }},
		{"CMD a\nENTRYPOINT [\"e\"]", func(c *api.Config) bool { return len(c.Cmd) == 3 && cmp.Equal(c.Entrypoint, []string{"e"}) }},
		{"CMD []\nENTRYPOINT [\"e\"]", func(c *api.Config) bool { return len(c.Cmd) == 0 }},
		{"SHELL [\"s\"]\nENTRYPOINT x", func(c *api.Config) bool { return cmp.Equal(c.Entrypoint, []string{"s", "x"}) }},
		{"HEALTHCHECK --interval=2s CMD a\nHEALTHCHECK --retries=3 CMD b", func(c *api.Config) bool {
			return c.Healthcheck.Interval == 2*time.Second && c.Healthcheck.Retries == 3 && c.Healthcheck.Test[1] == "b"
		}},
		{"WORKDIR /a\nWORKDIR b\nWORKDIR ../c", func(c *api.Config) bool { return c.WorkingDir == "/a/c" }},
		{"# no\n  USER u\nVOLUME /v /w\nSTOPSIGNAL 9\nEXPOSE 1-2/udp", func(c *api.Config) bool {
			return c.User == "u" && len(c.Volumes) == 2 && c.StopSignal == "9" && len(c.ExposedPorts) == 2
		}},
		{"ONBUILD RUN x\nONBUILD ENV O=1", func(c *api.Config) bool { return len(c.OnBuild) == 2 }},
		{"RUN x", func(c *api.Config) bool { return c.Cmd == nil && c.Healthcheck == nil && c.Entrypoint == nil }},
	} {
		if _, err := w.build("FROM base\n"+test.lines, Request{}); err != nil {
			t.Errorf("%s: %v", test.lines, err)
			continue
		}
		img := w.last().Config.Config
		c := api.Config{
			Env: img.Env, Cmd: img.Cmd, Entrypoint: img.Entrypoint, Healthcheck: img.Healthcheck, WorkingDir: img.WorkingDir,
			User: img.User, Volumes: img.Volumes, StopSignal: img.StopSignal, OnBuild: img.OnBuild,
		}
		if len(img.ExposedPorts) > 0 {
			c.ExposedPorts = w.by[w.last().Target.Digest].ExposedPorts
		}
		if !test.check(&c) {
			t.Errorf("%s: %+v", test.lines, c)
		}
	}
}

func TestOnBuild(t *testing.T) {
	w := newWorld(t)
	_, err := w.build("FROM base\nONBUILD ENV O=1\nONBUILD ENV P=2", Request{})
	must(t, err)
	w.tags["trigger"] = w.last().Target.Digest
	said, err := w.build("FROM trigger\nENV Q=3", Request{})
	must(t, err)
	if c := w.last().Config.Config; !strings.Contains(said, "# Executing 2 build triggers\n") || len(c.OnBuild) > 0 || !cmp.Equal(c.Env[1:], []string{"O=1", "P=2", "Q=3"}) {
		t.Errorf("%s%+v", said, c)
	}
	w.images[w.tags["trigger"]].Config.Config.OnBuild = []string{"NOTHING"}
	if _, err := w.build("FROM trigger", Request{}); err == nil || !strings.Contains(err.Error(), "unknown instruction: NOTHING") {
		t.Errorf("a trigger that is none: %v", err)
	}
}

// TestErrors: what is wrong with a request or a Dockerfile, and whether it is the client's fault.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		file  string
		r     Request
		want  string
		fault bool
	}{
		{"FROM base\n\nNOTHING here", Request{}, "dockerfile parse error on line 3: unknown instruction: NOTHING", true},
		{"FROM base\nENV", Request{}, "dockerfile parse error on line 2: ENV requires at least one argument", true},
		{"FROM base\nSHELL x", Request{}, "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form", true},
		{"RUN x", Request{}, "no build stage in current context", true},
		{"", Request{}, "the Dockerfile (Dockerfile) cannot be empty", true},
		{"FROM base", Request{Dockerfile: "none"}, "Cannot locate specified Dockerfile: none", false},
		{"FROM base", Request{Dockerfile: "../x"}, "forbidden path outside the build context: ../x ()", false},
		{"FROM base", Request{Target: "none"}, `target stage "none" could not be found`, true},
		{"FROM base", Request{Tags: []string{"UPPER"}}, "invalid reference format: repository name (library/UPPER) must be lowercase", false},
		{"FROM base", Request{Tags: []string{"a@sha256:" + strings.Repeat("0", 64)}}, "build tag cannot contain a digest", false},
		{"FROM base", Request{Remote: "nothing"}, "remoteURL (nothing) could not be recognized as URL", false},
		{"FROM base", Request{Remote: "client-session"}, "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead", true},
		{"FROM base", Request{Squash: true}, "error squashing image: not implemented", false},
		{"FROM base AS a\nFROM base AS A", Request{}, "a stage name already used", false},
		{"ARG N\nFROM $N", Request{}, "base name ($N) should not be blank", false},
		{"FROM UPPER", Request{}, "invalid reference format: repository name (library/UPPER) must be lowercase", false},
		{"FROM --platform=a/b/c/d base", Request{}, `failed to parse platform a/b/c/d: "a/b/c/d": cannot parse platform specifier: invalid argument`, true},
		{"FROM --platform=windows/amd64 scratch", Request{}, "operating system is not supported", false},
		{"FROM nowhere", Request{}, "no such repository", false},
		{"FROM scratch", Request{}, "No image was generated. Is your Dockerfile empty?", false},
		{"FROM base\nENV A=${B:?none}", Request{}, `failed to process "${B:?none}": B: none`, true},
		{"FROM base\nEXPOSE x", Request{}, "invalid containerPort: x", true},
	} {
		_, err := w.build(test.file, test.r)
		if err == nil || err.Error() != test.want {
			t.Errorf("%q %+v:\n%v, want\n%s", test.file, test.r, err, test.want)
			continue
		}
		if class := fault.Class(err); errdefs.IsInvalidArgument(class) != test.fault {
			t.Errorf("%q: the client's fault: %v", test.file, class)
		}
		w.clean()
	}
}

func TestPull(t *testing.T) {
	w := newWorld(t)
	r := Request{Auths: map[string]registry.AuthConfig{"host": {Username: "me"}}}
	for _, test := range []struct {
		pull bool
		want []string
	}{
		{false, []string{"docker.io/library/remote as me"}},
		{false, nil},
		{true, []string{"docker.io/library/remote as me"}},
	} {
		w.pulls, r.Pull, r.Context = nil, test.pull, nil
		_, err := w.build("FROM remote\nENV A=1\nFROM remote\nENV B=2", r)
		must(t, err)
		if d := cmp.Diff(test.want, w.pulls); d != "" {
			t.Errorf("pull %v:\n%s", test.pull, d)
		}
	}
}

// TestCancel: a client that goes away ends the step that runs, and nothing is left.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	started := make(chan struct{})
	w.run = func(c *api.Config, _ string, _, _ io.Writer) int {
		if c.Cmd[0] == "forever" {
			close(started)
			<-w.killed
		}
		return 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	r := &Request{Remove: true, Context: contextOf(entry{name: "Dockerfile", text: "FROM base\nENV A=1\nRUN [\"forever\"]\nRUN never\n"})}
	var said bytes.Buffer
	if _, err := w.service.Build(ctx, r, progress.NewWriter(&said)); err == nil {
		t.Error("a build that was broken off has no error")
	}
	if len(w.containers) > 0 || strings.Contains(said.String(), "never") {
		t.Errorf("containers %v are left, and it says\n%s", w.containers, said.String())
	}
	w.clean()
}

// TestLoad: what an engine that was killed has left goes away.
func TestLoad(t *testing.T) {
	w := newWorld(t)
	w.containers["aa"], w.containers["bb"] = &api.Config{Cmd: []string{"x"}}, &api.Config{Cmd: []string{"x"}}
	dir := filepath.Join(w.service.parts.Dir, "old")
	must(t, os.MkdirAll(filepath.Join(dir, "context"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, containersFile), []byte("aa\ngone\n"), 0o600))
	must(t, w.service.Load(t.Context()))
	if len(w.containers) != 1 || w.containers["bb"] == nil {
		t.Errorf("left: %v", w.containers)
	}
	w.clean()
}

func TestPrune(t *testing.T) {
	w := newWorld(t)
	if r := w.service.Prune(t.Context()); r.SpaceReclaimed != 0 || !cmp.Equal(w.told, []string{"builder prune"}) {
		t.Errorf("%+v, told %v", r, w.told)
	}
	if u, err := w.service.DiskUsage(t.Context()); err != nil || u.TotalCount != 0 {
		t.Errorf("%+v %v", u, err)
	}
}

func TestIgnored(t *testing.T) {
	w := newWorld(t)
	files := func(ignore string, r Request) []string {
		_, err := w.build("", Request{Dockerfile: r.Dockerfile, NoCache: true, Context: contextOf(
			entry{name: "Dockerfile", text: "FROM base\nCOPY . /all\n"}, entry{name: "sub/"}, entry{name: "sub/Other", text: "FROM base\nCOPY . /all\n"},
			entry{name: ".dockerignore", text: ignore})})
		must(t, err)
		var names []string
		for _, f := range w.files() {
			name, _, _ := strings.Cut(f, " ")
			names = append(names, strings.TrimPrefix(strings.TrimPrefix(name, "all"), "/"))
		}
		return names[1:]
	}
	for _, test := range []struct {
		ignore, file string
		want         []string
	}{
		{"", "", []string{".dockerignore", "Dockerfile", "sub", "sub/Other"}},
		{"Dockerfile", "", []string{".dockerignore", "sub", "sub/Other"}},
		{"*", "", []string{"sub", "sub/Other"}},
		{"*\n!Dockerfile", "", []string{"Dockerfile", "sub", "sub/Other"}},
		{"sub", "sub/Other", []string{".dockerignore", "Dockerfile", "sub"}},
		{"# Dockerfile\n.dockerignore", "", []string{"Dockerfile", "sub", "sub/Other"}},
	} {
		if d := cmp.Diff(test.want, files(test.ignore, Request{Dockerfile: test.file})); d != "" {
			t.Errorf("%q:\n%s", test.ignore, d)
		}
	}
}
