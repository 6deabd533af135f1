package libcontainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-containers/gantry/libcontainer/cgroup/stats"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// The field names of the types that containerd's go-runc decodes events with (v1.2.1).
type (
	goRuncEvent struct {
		Type  string       `json:"type"`
		ID    string       `json:"id"`
		Stats *goRuncStats `json:"data,omitempty"`
	}
	goRuncStats struct {
		CPU struct {
			Usage struct {
				Total, Kernel, User uint64
				Percpu              []uint64
			}
			Throttling struct{ Periods, ThrottledPeriods, ThrottledTime uint64 }
		} `json:"cpu"`
		Memory struct {
			Cache                          uint64
			Usage, Swap, Kernel, KernelTCP struct{ Limit, Usage, Max, Failcnt uint64 }
			Raw                            map[string]uint64
		} `json:"memory"`
		Pids  struct{ Current, Limit uint64 } `json:"pids"`
		Blkio struct {
			IoServiceBytesRecursive, IoServicedRecursive, IoQueueRecursive []struct {
				Major, Minor, Value uint64
				Op                  string
			}
		} `json:"blkio"`
		Hugetlb           map[string]struct{ Usage, Max, Failcnt uint64 } `json:"hugetlb"`
		NetworkInterfaces []*struct{ Name string }                        `json:"network_interfaces"`
	}
)

// sample has something in every field.
func sample() *stats.Stats {
	entry := []stats.BlockIOEntry{{Major: 8, Minor: 1, Op: "Read", Value: 9}}
	share := stats.PSIShare{Avg10: []byte("1.50"), Avg60: []byte("0.00"), Avg300: []byte("0.00"), Total: 7}
	psi := &stats.PSI{Some: share, Full: share}
	return &stats.Stats{
		CPU: stats.CPU{
			Usage:      stats.CPUUsage{Total: 1, PerCPU: []uint64{2}, PerCPUKernel: []uint64{3}, PerCPUUser: []uint64{4}, Kernel: 5, User: 6},
			Throttling: stats.Throttling{Periods: 7, ThrottledPeriods: 8, ThrottledTime: 9}, PSI: psi,
		},
		CPUSet: stats.CPUSet{CPUs: []uint16{0}, Mems: []uint16{0}, SchedRelaxDomainLevel: -1},
		Memory: stats.Memory{
			Cache: 1, Usage: stats.MemoryEntry{Limit: 2, Usage: 3, Max: 4, Failcnt: 5}, KernelTCP: stats.MemoryEntry{Limit: 6},
			Raw: map[string]uint64{"anon": 7}, PSI: psi,
		},
		Pids: stats.Pids{Current: 1, Limit: 2},
		BlockIO: stats.BlockIO{
			ServiceBytes: entry, Serviced: entry, Queued: entry, ServiceTime: entry, WaitTime: entry, Merged: entry, Time: entry, Sectors: entry, PSI: psi,
		},
		Hugetlb: map[string]stats.Hugetlb{"2MB": {Usage: 1, Max: 2, Failcnt: 3}},
		IntelRdt: resctrl.Stats{
			L3CacheInfo: &resctrl.CacheInfo{Mask: "ff", MinBits: 1, NumClosIDs: 2}, L3CacheSchemaRoot: "L3:0=ff", L3CacheSchema: "L3:0=f",
			MemBwInfo: &resctrl.BandwidthInfo{Granularity: 1, DelayLinear: 2, MinBandwidth: 3, NumClosIDs: 4}, MemBwSchemaRoot: "MB:0=100", MemBwSchema: "MB:0=20",
			Schemata: []string{"L3:0=f"}, Bandwidth: &[]resctrl.Bandwidth{{TotalBytes: 1, LocalBytes: 2}}, Occupancy: &[]resctrl.Occupancy{{Bytes: 3}},
		},
		Interfaces: []stats.Interface{{Name: "eth0"}},
	}
}

func TestEventsAreDecodedByGoRunc(t *testing.T) {
	e := &Event{Type: EventStats, ID: "c", Stats: sample()}
	var got goRuncEvent
	if err := json.Unmarshal(e.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Stats
	if got.Type != "stats" || got.ID != "c" || s.CPU.Usage.Total != 1 || s.CPU.Usage.Percpu[0] != 2 || s.CPU.Throttling.ThrottledTime != 9 ||
		s.Memory.Usage.Failcnt != 5 || s.Memory.KernelTCP.Limit != 6 || s.Memory.Raw["anon"] != 7 || s.Pids.Limit != 2 ||
		s.Blkio.IoQueueRecursive[0].Op != "Read" || s.Hugetlb["2MB"].Max != 2 || s.NetworkInterfaces[0].Name != "eth0" {
		t.Errorf("decoded as %+v", s)
	}
	var oom goRuncEvent
	line := (&Event{Type: EventOOM, ID: "c"}).AppendJSON(nil)
	if err := json.Unmarshal(line, &oom); err != nil || oom.Type != "oom" || string(line) != `{"type":"oom","id":"c"}` {
		t.Errorf("%s: %+v, %v", line, oom, err)
	}
}

// TestEventsHaveTheKeysOfRunc holds the keys to those of runc 1.5's types.
func TestEventsHaveTheKeysOfRunc(t *testing.T) {
	var data any
	if err := json.Unmarshal((&Event{Stats: sample()}).AppendJSON(nil), &data); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	keys(&got, "", data.(map[string]any)["data"])
	if diff := cmp.Diff(runcKeys, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsOfAStoppedContainer(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	p := startProgram(t)
	made(t, r, &state.State{ID: "c", Init: p.identify(t)})
	ended := make(chan error)
	go func() { ended <- r.Events("c", time.Hour, func(*Event) error { return nil }) }()
	time.Sleep(50 * time.Millisecond)
	_ = p.cmd.Process.Kill()
	if err := <-ended; err != nil {
		t.Errorf("the end of the container is not the end of its events: %v", err)
	}
	const want = "container with id c is not running"
	if _, err := r.Stats("c"); err == nil || err.Error() != want {
		t.Errorf("stats: %v", err)
	}
	if err := r.Events("c", time.Hour, nil); err == nil || err.Error() != want {
		t.Errorf("events: %v", err)
	}
}

func TestEventsEndWhenNobodyListens(t *testing.T) {
	r := &Runtime{Root: t.TempDir()}
	made(t, r, &state.State{ID: "c", Init: startProgram(t).identify(t)})
	gone := errors.New("gone")
	told := 0
	err := r.Events("c", time.Millisecond, func(*Event) error {
		if told++; told == 3 {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) || told != 3 {
		t.Errorf("%v after %d events", err, told)
	}
}
