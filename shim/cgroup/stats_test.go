package cgroup

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/shim/api/cgroup1"
	"github.com/gantry-containers/gantry/shim/api/cgroup2"
)

var update = flag.Bool("update", false, "write testdata/*.json anew")

// golden compares a message with what was read and looked at before.
func golden(t *testing.T, file string, m any) {
	t.Helper()
	got, err := json.MarshalIndent(m, "", "  ")
	check(t, err)
	got = append(got, '\n')
	if *update {
		check(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: want -, got +:\n%s", file, diff)
	}
}

func TestRecordedV2(t *testing.T) {
	c := &Cgroup{unified: recorded(t, "testdata/v2.txtar")}
	stats, err := c.Stats()
	check(t, err)
	if stats.TypeUrl != "io.containerd.cgroups.v2.Metrics" {
		t.Errorf("type %s", stats.TypeUrl)
	}
	m := &cgroup2.Metrics{}
	check(t, m.UnmarshalVT(stats.Value))
	m.Hugetlb = ofSize(m.Hugetlb, func(h *cgroup2.HugeTlbStat) string { return h.Pagesize })
	golden(t, "testdata/v2.json", m)
}

func TestRecordedV1(t *testing.T) {
	dir := recorded(t, "testdata/v1.txtar")
	c := &Cgroup{controllers: []v1Dir{{"cpu", dir}, {"cpuacct", dir}, {"memory", dir}, {"pids", dir}, {"blkio", dir}, {"hugetlb", dir}, {"rdma", dir}}}
	stats, err := c.Stats()
	check(t, err)
	if stats.TypeUrl != "io.containerd.cgroups.v1.Metrics" {
		t.Errorf("type %s", stats.TypeUrl)
	}
	m := &cgroup1.Metrics{}
	check(t, m.UnmarshalVT(stats.Value))
	m.Hugetlb = ofSize(m.Hugetlb, func(h *cgroup1.HugetlbStat) string { return h.Pagesize })
	for _, list := range [][]*cgroup1.BlkIOEntry{m.Blkio.IoServicedRecursive, m.Blkio.IoServiceBytesRecursive} {
		for _, e := range list {
			e.Device = "" // this machine's
		}
	}
	golden(t, "testdata/v1.json", m)
}

// ofSize leaves what every machine with huge pages has.
func ofSize[E any](list []E, size func(E) string) (kept []E) {
	for _, e := range list {
		if size(e) == "2MB" {
			kept = append(kept, e)
		}
	}
	return kept
}

// What is not there is not told, and is no error.
func TestNoControllers(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/cpu.stat", []byte("usage_usec 5\n"), 0o600))
	m, err := metricsV2(dir)
	check(t, err)
	if diff := cmp.Diff(jsonOf(t, m), `{"cpu":{"usageUsec":5}}`); diff != "" {
		t.Error(diff)
	}
	c := &Cgroup{controllers: []v1Dir{{"memory", t.TempDir()}, {"cpu", dir + "/gone"}}}
	m1, err := c.metricsV1()
	check(t, err)
	if diff := cmp.Diff(jsonOf(t, m1), `{"cpu":{"usage":{},"throttling":{}}}`); diff != "" {
		t.Error(diff)
	}
}

func jsonOf(t *testing.T, m any) string {
	t.Helper()
	text, err := json.Marshal(m)
	check(t, err)
	return string(text)
}

func TestGone(t *testing.T) {
	for _, c := range []*Cgroup{
		{unified: t.TempDir() + "/gone"},
		{unified: t.TempDir()}, // while it goes: the directory is open, the files are not there
		{controllers: []v1Dir{{"memory", t.TempDir() + "/gone"}, {"cpu", t.TempDir() + "/gone"}}},
	} {
		if m, err := c.Stats(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v, error %v", c, m, err)
		}
	}
}

// Files that are larger than the buffer, or garbage.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	big := make([]byte, 0, 100<<10)
	for len(big) < 90<<10 {
		big = append(big, "unknown_key 12345\n"...)
	}
	big = append(big, "anon 77\n"...)
	for name, text := range map[string]string{
		"cpu.stat":       "usage_usec 1\nusage_usec\nuser_usec x\n\n system_usec 3 \nnr_periods 1 2\nnr_throttled 99999999999999999999\n \x00\xff 7",
		"memory.stat":    string(big),
		"memory.current": "-4096\n",
		"memory.max":     "many\n",
		"pids.current":   "",
		"io.stat":        "8:0\n8 rbytes=1\nx:y rbytes=1\n8:1 rbytes=1 wbytes rios=x wios=4 =\n",
		"cpu.pressure":   "some\nfull avg10=x total=7\nnone avg10=1\n\n",
		"rdma.current":   "a\nb hca_handle=99999999999 hca_object=1\n",
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	m, err := metricsV2(dir)
	check(t, err)
	want := `{"cpu":{"usageUsec":1,"systemUsec":3,"psi":{"some":{},"full":{"total":7}}},"memory":{"anon":77},` +
		`"rdma":{"current":[{"device":"b","hcaObjects":1}]},"io":{"usage":[{"major":8,"minor":1,"rbytes":1,"wios":4}]}}`
	if diff := cmp.Diff(want, jsonOf(t, m)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestPageSize(t *testing.T) {
	for kb, want := range map[uint64]string{64: "64KB", 2048: "2MB", 32 << 10: "32MB", 1 << 20: "1GB", 16 << 20: "16GB"} {
		if got := pageSize(kb); got != want {
			t.Errorf("%d kB: %s, want %s", kb, got, want)
		}
	}
}

func FuzzEachPair(f *testing.F) {
	f.Add([]byte("anon 1\nfile 2\n"))
	f.Add([]byte("oom_kill max\n -1\n\n x -"))
	f.Fuzz(func(t *testing.T, text []byte) {
		eachPair(text, func(key []byte, value uint64) {
			if len(key) == 0 {
				t.Errorf("no key, value %d", value)
			}
		})
		nested(text, func(name []byte, _ [][]byte) {
			if major, minor, ok := device(name); ok && (major > math.MaxUint64-1 || minor > math.MaxUint64-1) {
				t.Log(major, minor)
			}
		})
		blkioEntries(text)
		rdmaEntries(text, func(string, uint32, uint32) int { return 0 })
	})
}

func BenchmarkStats(b *testing.B) {
	g := newGroup(b)
	c := g.limited(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := c.Stats()
		check(b, err)
	}
}
