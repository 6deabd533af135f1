// Package engine_test measures our engine, with our manager, shim and runtime, beside dockerd: the same commands by the
// same client, in turn.
//
//	go test ./tests/bench/engine -run '^$' -bench . -benchtime 20x
//
// The peers are Debian's dockerd 20.10 with its containerd 1.6 and its runc 1.1, and dockerd 29 with containerd 2.4 and our
// runc, as Debian's is too old for it. The number of pairs is -benchtime's; what takes long has fewer of them. $GANTRY_BENCH_LIVE is
// how many containers live through a restart, 20 if it is not set; $GANTRY_BENCH_IMAGE how many megabytes the image has that is
// pulled, 1000 if it is not. Nothing is asserted.
package engine_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/gantry-containers/gantry/tests/bench/report"
	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/compat/docker"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// peers are what ours is compared with; the runtime is a name that dockerd knows.
var peers = []struct {
	name    string
	release *docker.Release
	runtime string
}{
	{"20.10", &docker.Releases[0], "runc"},
	{"29", &docker.Releases[1], "gantry"},
}

// places are where data-root is: in memory, or where records and images wait for the disk.
var places = []struct{ name, dir string }{{"memory", "/dev/shm"}, {"disk", "/tmp"}}

func BenchmarkEngine(b *testing.B) {
	harness.NeedRoot(b)
	out := os.Stdout // at once: who gives up has what was measured so far
	fmt.Fprintf(out, "\n%s\nbench    %s\n", report.Machine(), runtime.Version())
	for _, peer := range peers {
		fmt.Fprintf(out, "\nmilliseconds; ratio = gantry / dockerd %s, median of the pairs [95 %% interval]\n%-34s %4s  %8s %8s  %-20s   %8s %8s  %s\n",
			peer.name, "case", "n", "cpu ours", "cpu peer", "ratio", "wall o.", "wall p.", "ratio")
		b.Run(peer.name, func(b *testing.B) {
			for _, place := range places {
				b.Run(place.name, func(b *testing.B) {
					b.Setenv("TMPDIR", place.dir)
					s := both{
						start(b, peer.release, "gantry", docker.Setup{Engine: true}),
						start(b, peer.release, "dockerd", docker.Setup{Containerd: true, Args: []string{"--live-restore", "--default-runtime", peer.runtime}}),
					}
					s.measure(b, out, place.name)
				})
			}
		})
	}
}

// measure runs all cases; what waits for no disk is measured in memory only.
func (s both) measure(b *testing.B, out io.Writer, place string) {
	b.Helper()
	b.Run("run", func(b *testing.B) { s.runs(b, out, place, count(b)) })
	b.Run("start", func(b *testing.B) { s.starts(b, out, place, max(count(b)/2, 1)) })
	b.Run("pull", func(b *testing.B) { s.pulls(b, out, place, max(count(b)/6, 1)) })
	b.Run("live", func(b *testing.B) { s.restarts(b, out, place, max(count(b)/4, 1)) })
	if place != places[0].name {
		return
	}
	b.Run("idle", func(b *testing.B) { s.idle(b, out) })
	b.Run("lists", func(b *testing.B) { s.lists(b, out, count(b)) })
	b.Run("events", func(b *testing.B) { s.events(b, out, max(count(b)/4, 1)) })
	b.Run("health", func(b *testing.B) { s.health(b, out) })
}

// count is -benchtime's number.
func count(b *testing.B) int {
	b.Helper()
	n := 0
	for b.Loop() { // the function that has it runs once, unlike one with b.N
		if n++; n > 1000 {
			b.Fatal("say how many pairs: -benchtime 20x")
		}
	}
	return n
}

// number is a variable's, or another one if it is not set.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// both are ours and the peer.
type both [2]*engine

// turns makes a turn of each.
func (s both) turns(turn func(*engine) side.Cost) [2]func() side.Cost {
	return [2]func() side.Cost{func() side.Cost { return turn(s[0]) }, func() side.Cost { return turn(s[1]) }}
}

// each does something with each.
func (s both) each(do func(*engine)) {
	for _, e := range s {
		do(e)
	}
}
