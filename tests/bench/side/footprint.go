package side

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-containers/gantry/tests/bench/report"
)

// Footprint is what a process holds: memory in KiB, see proc(5), smaps_rollup.
type Footprint struct {
	Private, PSS, RSS, Threads, Files float64
}

// MedianFootprint takes the medians of several.
func MedianFootprint(t testing.TB, pids []int) Footprint {
	t.Helper()
	var private, pss, rss, threads, files []float64
	for _, pid := range pids {
		f := FootprintOf(t, pid)
		private, pss, rss = append(private, f.Private), append(pss, f.PSS), append(rss, f.RSS)
		threads, files = append(threads, f.Threads), append(files, f.Files)
	}
	median := func(values []float64) float64 { return report.Summarize(values).Median }
	return Footprint{median(private), median(pss), median(rss), median(threads), median(files)}
}

// FootprintOf measures one process.
func FootprintOf(t testing.TB, pid int) Footprint {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	rollup, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return Footprint{
		Private: field(rollup, "Private_Dirty"), PSS: field(rollup, "Pss"), RSS: field(rollup, "Rss"),
		Threads: field(status, "Threads"), Files: float64(len(files)),
	}
}

// field is the number of a line "NAME: NUMBER".
func field(text []byte, name string) float64 {
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && key == name {
			n, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return n
		}
	}
	return 0
}
