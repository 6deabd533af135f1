package stats

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// tree makes cgroups of files with known content: a folder of the archive is a hierarchy,
// "unified" the v2 one.
func tree(t *testing.T, archive string) *cgroup.Set {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	var paths []state.CgroupPath
	seen := map[string]bool{}
	for _, f := range a.Files {
		dir, name := filepath.Split(f.Name)
		dir = filepath.Clean(dir)
		if !seen[dir] {
			seen[dir] = true
			hierarchy := dir
			if dir == "unified" {
				hierarchy = ""
			}
			if err := os.Mkdir(filepath.Join(top, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, state.CgroupPath{Hierarchy: hierarchy, Path: filepath.Join(top, dir)})
		}
		if err := os.WriteFile(filepath.Join(top, dir, name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cgroup.FromState(paths)
}

func read(t *testing.T, archive string) *Stats {
	t.Helper()
	s, err := Read(tree(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	s.Hugetlb = nil // whatever page sizes this machine has
	return s
}

func TestStatsOfV1(t *testing.T) {
	want := &Stats{
		CPU: CPU{
			Usage: CPUUsage{
				Total: 7856202, PerCPU: []uint64{1411434, 6444768}, PerCPUKernel: []uint64{4, 5}, PerCPUUser: []uint64{1, 2},
				Kernel: 70_000_000, User: 30_000_000,
			},
			Throttling: Throttling{5, 2, 99},
		},
		CPUSet: CPUSet{CPUs: []uint16{0, 1, 2, 7}, Mems: []uint16{0}, CPUExclusive: 1, SchedLoadBalance: 1, SchedRelaxDomainLevel: -1},
		Memory: Memory{
			Cache: 12, Usage: MemoryEntry{9223372036854771712, 749568, 2232320, 3}, Swap: MemoryEntry{Limit: 100, Usage: 50},
			Kernel: MemoryEntry{Limit: 1, Usage: 2, Max: 3, Failcnt: 4}, KernelTCP: MemoryEntry{Limit: 5},
			Raw: map[string]uint64{"cache": 12, "rss": 0, "hierarchical_memory_limit": 9223372036854771712},
		},
		Pids: Pids{Current: 3, Limit: 20},
		BlockIO: BlockIO{
			ServiceBytes: []BlockIOEntry{{8, 0, "Read", 4096}, {8, 0, "Write", 0}},
			Serviced:     []BlockIOEntry{{8, 0, "Read", 1}},
		},
	}
	if diff := cmp.Diff(want, read(t, "testdata/v1.txtar")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatsOfV2(t *testing.T) {
	psi := func(ten string, total uint64) PSIShare {
		return PSIShare{Avg10: []byte(ten), Avg60: []byte("0.50"), Avg300: []byte("0.00"), Total: total}
	}
	want := &Stats{
		CPU: CPU{
			Usage:      CPUUsage{Total: 1328000, Kernel: 328000, User: 1000000},
			Throttling: Throttling{5, 2, 99000},
			PSI:        &PSI{Some: psi("1.25", 77), Full: psi("0.00", 5)},
		},
		Memory: Memory{
			Cache: 4096, Usage: MemoryEntry{Limit: 1000, Usage: 300, Max: 900}, Swap: MemoryEntry{Limit: 1500, Usage: 320},
			Raw: map[string]uint64{"anon": 1, "file": 4096},
			PSI: &PSI{Some: psi("3.00", 1), Full: psi("2.00", 2)},
		},
		Pids: Pids{Current: 4},
		BlockIO: BlockIO{
			ServiceBytes: []BlockIOEntry{{8, 0, "Read", 10}, {8, 0, "Write", 20}},
			Serviced:     []BlockIOEntry{{8, 0, "Read", 1}, {8, 0, "Write", 2}},
		},
	}
	if diff := cmp.Diff(want, read(t, "testdata/v2.txtar")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStatsOfLittle: no limit on memory, no swap accounting, no pids controller, no PSI.
func TestStatsOfLittle(t *testing.T) {
	want := &Stats{
		Memory: Memory{Usage: MemoryEntry{Limit: math.MaxUint64, Usage: 5}, Swap: MemoryEntry{Limit: math.MaxUint64, Usage: 5}, Raw: map[string]uint64{"anon": 5}},
		Pids:   Pids{Current: 2},
	}
	if diff := cmp.Diff(want, read(t, "testdata/little.txtar")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatsWithoutCgroups(t *testing.T) {
	s, err := Read(cgroup.FromState(nil))
	if diff := cmp.Diff(&Stats{Hugetlb: map[string]Hugetlb{}}, s); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

func TestSizeNamesAreThoseOfTheKernel(t *testing.T) {
	for kb, want := range map[uint64]string{64: "64KB", 2048: "2MB", 1 << 20: "1GB", 16 << 20: "16GB", 512: "512KB"} {
		if got := sizeName(kb); got != want {
			t.Errorf("%d kB: %s, want %s", kb, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "18446744073709551615": math.MaxUint64, "max": math.MaxUint64, "-5": 0, "": 0, "x": 0} {
		if got := number(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
