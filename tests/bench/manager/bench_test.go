// Package manager_test measures our manager, with our shim and runtime, beside containerd 2.4 with its shim and Debian's
// runc: the same commands by the same client, in turn.
//
//	go test ./tests/bench/manager -run '^$' -bench . -benchtime 20x
//
// The number of pairs is -benchtime's; what takes long has a quarter of them. $GANTRY_BENCH_LIVE is how many containers
// live through a restart, 20 if it is not set. Nothing is asserted.
package manager_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/bench/report"
	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// places are where the root directory is: databases and content wait for the disk, if there is one. State is in memory,
// as /run is.
var places = []struct{ name, root string }{{"memory", ""}, {"disk", "/tmp"}}

func BenchmarkManager(b *testing.B) {
	harness.NeedRoot(b)
	var out strings.Builder
	fmt.Fprintf(&out, "%s\nbench    %s\n", report.Machine(), runtime.Version())
	fmt.Fprintf(&out, "\nmilliseconds; ratio = ours / containerd, median of the pairs [95 %% interval]\n%-33s %5s %8s %8s  %-22s  %8s %8s  %s\n",
		"case", "pairs", "cpu ours", "cpu peer", "ratio", "wall o.", "wall p.", "ratio")
	var more strings.Builder
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			b.Setenv("TMPDIR", "/dev/shm")
			s := startBoth(b, place.root)
			b.Run("start", func(b *testing.B) { s.starts(b, &out, place.name, count(b)) })
			b.Run("run", func(b *testing.B) { s.runs(b, &out, place.name, count(b)) })
			b.Run("calls", func(b *testing.B) { s.perCall(b, &more, place.name, count(b)) })
			b.Run("pull", func(b *testing.B) { s.pulls(b, &out, place.name, max(count(b)/4, 1)) })
			if place.root == "" {
				b.Run("idle", func(b *testing.B) { s.idle(b, &more) })
			}
			b.Run("restart", func(b *testing.B) { s.restarts(b, &out, place.name, max(count(b)/4, 1)) })
		})
	}
	fmt.Print("\n", out.String(), more.String())
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

// both are ours and the peer.
type both [2]*side.Side

func startBoth(b *testing.B, root string) both {
	b.Helper()
	theirs := compat.Containerd24.Program(b, "containerd-shim-runc-v2")
	return both{
		side.New(b, side.Setup{Name: "gantry", Generation: compat.Gantry, Shim: compat.Shim(b, compat.Gantry), Runtime: harness.Runtime(b), Root: root}),
		side.New(b, side.Setup{Name: "containerd", Generation: compat.Containerd24, Shim: theirs, Runtime: compat.Debian(b, "runc"), Root: root}),
	}
}

// turns makes a turn of each side.
func (s both) turns(turn func(*side.Side) side.Cost) [2]func() side.Cost {
	return [2]func() side.Cost{func() side.Cost { return turn(s[0]) }, func() side.Cost { return turn(s[1]) }}
}

// runs measures containers from the command that makes them until nothing is left of them.
func (s both) runs(b *testing.B, out io.Writer, place string, pairs int) {
	b.Helper()
	side.Pairs(out, "ctr version, "+place, pairs, s.turns(func(s *side.Side) side.Cost { return s.Measure("version") }))
	side.Pairs(out, "ctr run --rm true, "+place, pairs, s.turns((*side.Side).Run))
	var ids [2]string
	for i := range s {
		ids[i] = s[i].Sleep()
		defer s[i].Remove(ids[i])
	}
	n := 0
	side.Pairs(out, "ctr tasks exec true, "+place, pairs, s.turns(func(who *side.Side) side.Cost {
		id := ids[0]
		if who == s[1] {
			id = ids[1]
		}
		n++
		return who.Measure("tasks", "exec", "--fifo-dir", who.Env["FIFOS"], "--exec-id", fmt.Sprintf("e%d", n), id, "true")
	}))
}

// live is how many containers live through a restart.
func live() int {
	if n, err := strconv.Atoi(os.Getenv("GANTRY_BENCH_LIVE")); err == nil {
		return n
	}
	return 20
}

// idleContainers are how many containers a manager has that is measured with some.
const idleContainers = 10

// untilIdle is how long nothing happens before a manager counts as idle: ours gives memory back then.
const untilIdle = 30 * time.Second

// idle writes what the managers hold while nothing happens.
func (s both) idle(b *testing.B, out io.Writer) {
	b.Helper()
	fmt.Fprintf(out, "\nmanagers that do nothing; KiB, ratio = ours / containerd\n%-30s %-12s %13s %8s %8s %8s %8s\n",
		"when", "side", "private dirty", "PSS", "RSS", "threads", "files")
	count(b)
	s.footprints(b, out, "after all that, at once")
	time.Sleep(untilIdle)
	s.footprints(b, out, "after all that, idle")
	s.restart(b)
	s.footprints(b, out, "just started")
	var ids [2][]string
	for i := range s {
		for range idleContainers {
			ids[i] = append(ids[i], s[i].Sleep())
		}
		defer s[i].Remove(ids[i]...)
	}
	time.Sleep(untilIdle)
	s.footprints(b, out, fmt.Sprintf("with %d containers, idle", idleContainers))
	s.restart(b)
	s.footprints(b, out, fmt.Sprintf("with %d, just started", idleContainers))
}

func (s both) restart(b *testing.B) {
	b.Helper()
	for _, who := range s {
		who.Stop()
		who.Start()
		who.Count()
	}
}

func (s both) footprints(b *testing.B, out io.Writer, when string) {
	b.Helper()
	rest()
	var f [2]side.Footprint
	for i := range s {
		f[i] = side.FootprintOf(b, s[i].PID())
		fmt.Fprintf(out, "%-30s %-12s %13.0f %8.0f %8.0f %8.0f %8.0f\n", when, s[i].Name, f[i].Private, f[i].PSS, f[i].RSS, f[i].Threads, f[i].Files)
	}
	fmt.Fprintf(out, "%-30s %-12s %13.2f %8.2f %8.2f\n", when, "ratio", f[0].Private/f[1].Private, f[0].PSS/f[1].PSS, f[0].RSS/f[1].RSS)
}
