package shim_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/gantry-containers/gantry/tests/bench/side"
)

// idleShims is how many shims of a kind run when their memory is measured: they share pages of their program.
const idleShims = 10

// idle writes what shims hold whose containers do nothing, some time after they were started.
func idle(t testing.TB, out io.Writer, sides ...*side.Side) {
	fmt.Fprintf(out, "\n%d idle shims of each kind, medians; KiB\n%-18s %8s %14s %8s %8s %8s %8s\n",
		idleShims, "side", "after", "private dirty", "PSS", "RSS", "threads", "files")
	pids := map[*side.Side][]int{}
	for _, s := range sides {
		var ids []string
		for range idleShims {
			id := s.Sleep()
			ids = append(ids, id)
			pids[s] = append(pids[s], s.ShimPIDs(id)...)
		}
		defer s.Remove(ids...)
	}
	for last, after := time.Duration(0), time.Second; after <= time.Minute; after *= 60 {
		time.Sleep(after - last)
		last = after
		for _, s := range sides {
			f := side.MedianFootprint(t, pids[s])
			fmt.Fprintf(out, "%-18s %8v %14.0f %8.0f %8.0f %8.0f %8.0f\n", s.Name, after, f.Private, f.PSS, f.RSS, f.Threads, f.Files)
		}
	}
}
