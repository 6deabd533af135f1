package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkCompose measures how long the projects of tests/engine/compose take to come up, and to be taken down, their images
// built, beside dockerd 29: compose is too new for 20.10.
func BenchmarkCompose(b *testing.B) {
	harness.NeedRoot(b)
	out, peer := os.Stdout, peers[1]
	fmt.Fprintf(out, "\nmilliseconds; ratio = gantry / dockerd %s\n", peer.name)
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			b.Setenv("TMPDIR", place.dir)
			s := both{
				start(b, peer.release, "gantry", docker.Setup{Engine: true, BuildKit: true}),
				start(b, peer.release, "dockerd", docker.Setup{Containerd: true, BuildKit: true, Args: []string{"--default-runtime", peer.runtime}}),
			}
			s.composes(b, out, place.name, max(count(b)/2, 1))
		})
	}
}

func (s both) composes(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	for _, name := range []string{"build", "scale", "settings"} {
		dir := project(b, name)
		down := map[*engine][]side.Cost{}
		side.Pairs(out, "docker compose up, "+name+", "+place, pairs, s.turns(func(e *engine) side.Cost {
			// Without --wait: then compose asks every 500 ms how things are, whatever the engine.
			up := e.compose(dir, "up", "--detach")
			down[e] = append(down[e], e.compose(dir, "down", "--volumes", "--timeout", "0"))
			return up
		}))
		// They were measured in the turns above.
		side.Pairs(out, "docker compose down, "+name+", "+place, pairs, s.turns(func(e *engine) side.Cost {
			cost := down[e][0]
			down[e] = down[e][1:]
			return cost
		}))
	}
}

// project unpacks a project of a script.
func project(b *testing.B, name string) string {
	b.Helper()
	script, err := os.ReadFile(filepath.Join(harness.Top(), "tests/engine/compose/testdata/projects", name+".txtar"))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for _, f := range txtar.Parse(script).Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return filepath.Join(dir, "project")
}

// compose runs a command in a project. What it costs is not counted: its containers stay.
func (e *engine) compose(dir string, args ...string) side.Cost {
	e.t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(filepath.Join(filepath.Dir(e.Socket()), "bin/docker"), append([]string{"compose"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	cmd.Env = append(append(os.Environ(), e.Environment()...), "DOCKER_BUILDKIT=1", "FROM_SHELL=bench")
	began := time.Now()
	if err := cmd.Run(); err != nil {
		e.t.Fatalf("%s: docker compose %s: %v\n%s", e.name, strings.Join(args, " "), err, &said)
	}
	return side.Cost{Wall: time.Since(began)}
}
