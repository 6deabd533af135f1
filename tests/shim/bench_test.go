package shim_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/bench/report"
	"github.com/gantry-containers/gantry/tests/bench/side"
	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkShim compares our shim with containerd's under the same containerd. The number of pairs is -benchtime's:
//
//	go test ./tests/shim -run '^$' -bench . -benchtime 30x
//
// CPU time is that of ctr, containerd, the shim, the OCI runtime and the container together. Nothing is asserted.
func BenchmarkShim(b *testing.B) {
	harness.NeedRoot(b)
	b.Setenv("TMPDIR", "/dev/shm") // containerd's database waits for the disk some forty times per container
	theirs := compat.Containerd24.Program(b, "containerd-shim-runc-v2")
	start := func(name, shim, runtime string) *side.Side {
		return side.New(b, side.Setup{Name: name, Generation: compat.Containerd24, Shim: shim, Runtime: runtime})
	}
	ours := start("gantry+gantry", compat.Shim(b, compat.Containerd24), harness.Runtime(b))
	peers := []*side.Side{
		start("containerd+runc", theirs, compat.Debian(b, "runc")),
		start("containerd+gantry", theirs, harness.Runtime(b)),
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s\nbench    %s\n", report.Machine(), runtime.Version())
	for _, s := range append([]*side.Side{ours}, peers...) {
		fmt.Fprintf(&out, "%-8s %s: %s; %s\n", "side", s.Name, s.Version, s.Runtime)
	}
	fmt.Fprintf(&out, "\nmilliseconds; ratio = ours / peer, median of the pairs [95 %% interval]\n%-8s %-18s %8s %8s  %-20s   %8s %8s  %s\n",
		"case", "peer", "cpu ours", "cpu peer", "ratio", "wall o.", "wall p.", "ratio")
	for _, peer := range peers {
		for _, name := range []string{"ctr", "run", "exec"} {
			b.Run(name+"/"+peer.Name, func(b *testing.B) { comparePairs(b, &out, name, ours, peer) })
		}
	}
	copying(b, &out, ours, peers[0])
	idle(b, &out, ours, peers[0])
	b.Cleanup(func() { fmt.Print("\n", out.String()) })
}

// comparePairs measures one case against one peer and writes a line.
func comparePairs(b *testing.B, out io.Writer, name string, ours, peer *side.Side) {
	sides := [2]*side.Side{ours, peer}
	var turns [2]func() side.Cost
	for i, s := range sides {
		turn, end := operation(s, name)
		defer end()
		turns[i] = turn
		turn() // fills caches
	}
	var cpu, wall [2][]float64
	for n := 0; b.Loop(); n++ {
		for turn := range 2 {
			i := (n + turn) % 2 // the side that begins alternates
			c := turns[i]()
			cpu[i] = append(cpu[i], milliseconds(c.CPU))
			wall[i] = append(wall[i], milliseconds(c.Wall))
		}
	}
	fmt.Fprintf(out, "%-8s %-18s %s   %s\n", name, peer.Name, report.Columns(cpu), report.Columns(wall))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// operation prepares a case. It returns the work of one turn, and what ends the preparation.
func operation(s *side.Side, name string) (turn func() side.Cost, end func()) {
	switch name {
	case "ctr": // what a client alone costs, and is in every other line
		return func() side.Cost { return s.Measure("version") }, func() {}
	case "run":
		return s.Run, func() {}
	}
	id := s.Sleep()
	n := 0
	return func() side.Cost {
		n++
		return s.Measure("tasks", "exec", "--fifo-dir", s.Env["FIFOS"], "--exec-id", fmt.Sprintf("e%d", n), id, "true")
	}, func() { s.Remove(id) }
}

// copied is how much output a container writes for the copying case.
const copied = 1 << 30

// copying writes how fast output goes through a shim to a reader, and the CPU time of shim and daemon for it.
func copying(t testing.TB, out io.Writer, sides ...*side.Side) {
	fmt.Fprintf(out, "\nstdout of 1 GiB through the shim, median of 3\n%-18s %10s %14s\n", "side", "MB/s", "shim cpu ms/GiB")
	rates, cpu := map[*side.Side][]float64{}, map[*side.Side][]float64{}
	for range 3 {
		for _, s := range sides {
			wall, used := copyOut(t, s)
			rates[s] = append(rates[s], copied/1e6/wall.Seconds())
			cpu[s] = append(cpu[s], milliseconds(used))
		}
	}
	for _, s := range sides {
		fmt.Fprintf(out, "%-18s %10.0f %14.0f\n", s.Name, report.Summarize(rates[s]).Median, report.Summarize(cpu[s]).Median)
	}
}

// copyOut has a container write to the fifo that ctr has made, and reads it in the place of ctr, which has left.
func copyOut(t testing.TB, s *side.Side) (wall, cpu time.Duration) {
	t.Helper()
	id, options := s.NewID()
	s.Ctr(append(append([]string{"run", "--detach"}, options...), compat.ImageName, id, "sh", "-c",
		fmt.Sprintf("trap : USR1; sleep 100000 & wait; dd if=/dev/zero bs=64k count=%d; wait", copied>>16))...)
	s.Keep()
	defer s.Remove(id)
	fifos, _ := filepath.Glob(filepath.Join(s.Env["FIFOS"], "*", id+"-stdout"))
	if len(fifos) != 1 {
		t.Fatalf("fifos of %s: %v", id, fifos)
	}
	fifo, err := os.OpenFile(fifos[0], os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if err := fifo.SetReadDeadline(time.Now().Add(harness.Limit(time.Minute))); err != nil {
		t.Fatal(err)
	}
	s.Ctr("tasks", "kill", "--signal", "USR1", id)
	before, begin := s.Usage("daemon"), time.Now()
	if _, err := io.CopyN(io.Discard, fifo, copied); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return time.Since(begin), s.Usage("daemon") - before
}
