package tour

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestMain gives the tests a /run of their own, where shims and network namespaces have their places.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pair is the oracle and our engine. GANTRY_ENGINE=moby has the oracle twice, which shows what the masks do not cover.
type pair struct {
	theirs, ours *docker.Engine
	image        string // a file, which each script finds loaded
	client       string // a folder for $PATH with another docker; "" for the release's
}

func start(t *testing.T, r *docker.Release) *pair {
	t.Helper()
	args := []string{"--experimental"}
	p := &pair{
		image:  compat.Image(t, t.TempDir()),
		theirs: docker.Start(t, r, docker.Setup{Args: args}),
		ours:   docker.Start(t, r, docker.Setup{Args: args, Engine: os.Getenv("GANTRY_ENGINE") != "moby"}),
	}
	for _, e := range []*docker.Engine{p.theirs, p.ours} {
		e.Registry()
		e.PrivateRegistry()
	}
	return p
}

// scripts compares all of a folder, one after the other.
func (p *pair) scripts(t *testing.T, folder string) {
	t.Helper()
	for _, file := range compat.Folder(t, folder) {
		script, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(script.Name, func(t *testing.T) { p.compare(t, script) })
	}
}

// compare types a script at both at the same time.
func (p *pair) compare(t *testing.T, script *Script) {
	t.Helper()
	for _, e := range []*docker.Engine{p.theirs, p.ours} {
		if err := e.Docker("load", "--input", p.image); err != nil {
			t.Fatal(err)
		}
	}
	var want, got []Entry
	var both sync.WaitGroup
	both.Go(func() { want = script.Run(t, p.environment(p.theirs)) })
	got = script.Run(t, p.environment(p.ours))
	both.Wait()
	for i := range want {
		if d := cmp.Diff(strings.Split(want[i].Output, "\n"), strings.Split(got[i].Output, "\n")); d != "" {
			t.Errorf("$ %s\n(-moby +gantry)\n%s", want[i].Command, d)
		}
		if max(want[i].Took, got[i].Took) > 2*time.Second {
			t.Logf("moby took %v, ours %v: %s", want[i].Took, got[i].Took, want[i].Command)
		}
	}
	if path := os.Getenv("GANTRY_TOUR"); path != "" {
		record(t, filepath.Join(path, script.Name), want, got)
	}
}

// record keeps what was compared, for who wants to look at it.
func record(t *testing.T, name string, sides ...[]Entry) {
	t.Helper()
	for i, side := range sides {
		var b strings.Builder
		for _, e := range side {
			fmt.Fprintf(&b, "$ %s\n%s\n", e.Command, e.Output)
		}
		if err := os.WriteFile(fmt.Sprintf("%s.%d", name, i), []byte(b.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

func (p *pair) environment(e *docker.Engine) []string {
	env := e.Environment()
	for i, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok && p.client != "" {
			env[i] = "PATH=" + p.client + ":" + path
		}
	}
	return env
}

// TestTour compares our engine with moby 29, by the newest CLI. There are three pairs, to be quicker.
func TestTour(t *testing.T) {
	harness.NeedRoot(t)
	for _, folder := range []string{"one", "two", "three"} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			start(t, &docker.Releases[1]).scripts(t, filepath.Join("testdata", folder))
		})
	}
}

// TestOlder has a CLI that speaks an older version of the API.
func TestOlder(t *testing.T) {
	harness.NeedRoot(t)
	for _, older := range []struct {
		cli     string // the path of a CLI, which says this version
		version string
		oracle  *docker.Release
	}{
		{"/usr/local/bin/docker", "28.", &docker.Releases[1]},
		{"/usr/bin/docker", "20.10.", &docker.Releases[0]},
	} {
		t.Run(older.version, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(older.cli, "version", "--format", "{{.Client.Version}}").Output()
			if !strings.HasPrefix(string(out), older.version) {
				t.Skipf("%s is %q (%v)", older.cli, out, err)
			}
			p := start(t, older.oracle)
			p.client = t.TempDir()
			if err := os.Symlink(older.cli, filepath.Join(p.client, "docker")); err != nil {
				t.Fatal(err)
			}
			p.scripts(t, filepath.Join("testdata", "older"))
		})
	}
}
