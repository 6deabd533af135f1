// Package compose_test has docker compose bring projects up and down by our engine. GANTRY_ENGINE=moby has moby 29 do it,
// which proves the tests.
package compose_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestProjects brings the projects up, works with them, and takes them down: then all is as it was.
func TestProjects(t *testing.T) {
	harness.NeedRoot(t)
	e := docker.Start(t, &docker.Releases[1], docker.Setup{BuildKit: true, Engine: os.Getenv("GANTRY_ENGINE") != "moby"})
	before := traces(t, e)
	e.Serial(t, "testdata/projects", nil) // each has the time that a script has
	var after map[string]string
	same := func() bool { after = traces(t, e); return len(differ(before, after)) == 0 }
	if !harness.Until(30*time.Second, same) {
		for _, what := range differ(before, after) {
			t.Errorf("%s:\n%s\nbefore:\n%s", what, after[what], before[what])
		}
	}
}

// traces are what projects leave when they are not taken down wholly, by what it is.
func traces(t *testing.T, e *docker.Engine) map[string]string {
	t.Helper()
	found := map[string]string{}
	for what, command := range map[string][]string{
		"containers": {"docker", "ps", "--all", "--format", "{{.Names}}"},
		"networks":   {"docker", "network", "ls", "--format", "{{.Name}} {{.Driver}}"},
		"volumes":    {"docker", "volume", "ls", "--format", "{{.Name}}"},
		"devices":    {"sh", "-c", "ip -oneline link | cut -d: -f2 | cut -d@ -f1"},
		// The kernel gives the default bridge one of its own when something was on it, such as a step of a build.
		"routes":    {"sh", "-c", "ip -4 route; ip -6 route show type unicast | sed '/^fe80::.64 dev docker0 /d'"},
		"rules":     {"nft", "--stateless", "list", "ruleset"},
		"listeners": {"sh", "-c", "ss --no-header --listening --tcp --udp --numeric | awk '{print $1, $5}'"},
	} {
		out, err := e.Inside(command...).Output()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		found[what] = sorted(string(out))
	}
	namespaces, err := filepath.Glob(filepath.Join(filepath.Dir(e.Socket()), "exec/netns/*"))
	if err != nil {
		t.Fatal(err)
	}
	found["network namespaces"] = strings.Join(namespaces, "\n")
	return found
}

// sorted sorts lines: in which order rules were made says nothing.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// differ lists what is not as it was.
func differ(before, after map[string]string) []string {
	var what []string
	for name, was := range before {
		if after[name] != was {
			what = append(what, name)
		}
	}
	slices.Sort(what)
	return what
}
