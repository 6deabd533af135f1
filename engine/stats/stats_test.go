package stats

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// world is containers and their metrics, which count up.
type world struct {
	mu    sync.Mutex
	c     *container.Container
	err   error
	asked int
}

func (w *world) Get(string) (*container.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.c == nil {
		return nil, errdefs.ErrNotFound
	}
	return w.c, nil
}

func (w *world) set(c *container.Container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.c = c
}

func (w *world) Metrics(context.Context, string) (any, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return &v2.Metrics{
		CPU:    &v2.CPUStat{UsageUsec: uint64(w.asked)},
		Memory: &v2.MemoryStat{Usage: 5, UsageLimit: 1 << 63},
	}, time.Unix(int64(w.asked), 0).UTC(), w.err
}

func running() *container.Container {
	return &container.Container{
		ID: "id", Name: "name", Config: &api.Config{}, HostConfig: &api.HostConfig{NetworkMode: "none"},
		State: container.State{Status: container.Running},
	}
}

func TestOnce(t *testing.T) {
	stopped := running()
	stopped.State.Status = container.Exited
	for name, tc := range map[string]struct {
		c       *container.Container
		err     error
		o       Options
		fails   bool
		cpu     uint64
		preRead bool
	}{
		"one shot":                {c: running(), o: Options{OneShot: true}, cpu: 1000},
		"compared":                {c: running(), cpu: 2000, preRead: true},
		"stopped":                 {c: stopped},
		"stopped, one shot":       {c: stopped, o: Options{OneShot: true}},
		"gone at the manager":     {c: running(), o: Options{OneShot: true}, err: errdefs.ErrNotFound},
		"the manager has trouble": {c: running(), o: Options{OneShot: true}, err: errors.New("x"), fails: true},
		"no such container":       {fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{c: tc.c, err: tc.err}
			s := New(w, w, time.Millisecond)
			s.memory = 1000
			r, out := io.Pipe()
			done := make(chan error, 1)
			opened := false
			go func() {
				err := s.Write(t.Context(), "x", tc.o, func() io.Writer { opened = true; return out })
				_ = out.Close()
				done <- err
			}()
			b, _ := io.ReadAll(r)
			if err := <-done; (err != nil) != tc.fails || opened == tc.fails {
				t.Fatalf("error %v, answer begun: %v", err, opened)
			}
			if tc.fails {
				return
			}
			var got api.StatsResponse
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if got.Name != "/name" || got.OSType != "linux" || got.CPUStats.CPUUsage.TotalUsage != tc.cpu || !got.PreRead.IsZero() != tc.preRead {
				t.Errorf("got %s", b)
			}
			if tc.cpu > 0 && (got.MemoryStats.Limit != 1000 || got.CPUStats.OnlineCPUs == 0 || got.CPUStats.SystemUsage == 0) {
				t.Errorf("got %s", b)
			}
		})
	}
}

// Many who look at a container share its samples; when nobody looks any more, nothing is sampled.
func TestStream(t *testing.T) {
	w := &world{c: running()}
	s := New(w, w, 5*time.Millisecond)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 5 {
		r, out := io.Pipe()
		wg.Go(func() {
			_ = s.Write(ctx, "id", Options{Stream: true}, func() io.Writer { return out })
			_ = out.Close()
		})
		wg.Go(func() {
			lines := bufio.NewScanner(r)
			var last api.StatsResponse
			for n := 0; lines.Scan(); n++ {
				var now api.StatsResponse
				if err := json.Unmarshal(lines.Bytes(), &now); err != nil {
					t.Error(err)
				}
				if n > 0 && !now.PreRead.Equal(last.Read) {
					t.Errorf("compared with %v, not with %v", now.PreRead, last.Read)
				}
				if last = now; n == 3 {
					break
				}
			}
			_ = r.Close()
		})
	}
	wg.Wait()
	s.mu.Lock()
	if len(s.loops) != 0 {
		t.Errorf("%d containers are still sampled", len(s.loops))
	}
	s.mu.Unlock()
	cancel()
}

func TestStreamEndsWithTheContainer(t *testing.T) {
	w := &world{c: running()}
	s := New(w, w, time.Millisecond)
	r, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Write(t.Context(), "id", Options{Stream: true}, func() io.Writer { return out }) }()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	w.set(nil)
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestVersion1(t *testing.T) {
	var out api.StatsResponse
	err := fill(&out, &v1.Metrics{
		CPU: &v1.CPUStat{
			Usage: &v1.CPUUsage{Total: 10, Kernel: 3, User: 7, PerCPU: []uint64{4, 6}}, Throttling: &v1.Throttle{Periods: 1, ThrottledPeriods: 2, ThrottledTime: 3},
		},
		Memory: &v1.MemoryStat{Cache: 5, TotalInactiveFile: 6, Usage: &v1.MemoryEntry{Usage: 1, Max: 2, Limit: 3, Failcnt: 4}},
		Pids:   &v1.PidsStat{Current: 2, Limit: 9},
		Blkio:  &v1.BlkIOStat{IoServiceBytesRecursive: []*v1.BlkIOEntry{{Op: "Read", Major: 8, Minor: 1, Value: 512}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stats := out.MemoryStats.Stats
	if len(stats) != 32 || stats["cache"] != 5 || stats["total_inactive_file"] != 6 {
		t.Errorf("memory: %v", stats)
	}
	out.MemoryStats.Stats = nil
	none := []api.BlkioStatEntry{}
	want := api.StatsResponse{
		CPUStats: api.CPUStats{
			CPUUsage:       api.CPUUsage{TotalUsage: 10, UsageInKernelmode: 3, UsageInUsermode: 7, PercpuUsage: []uint64{4, 6}},
			ThrottlingData: api.ThrottlingData{Periods: 1, ThrottledPeriods: 2, ThrottledTime: 3},
		},
		MemoryStats: api.MemoryStats{Usage: 1, MaxUsage: 2, Limit: 3, Failcnt: 4},
		PidsStats:   api.PidsStats{Current: 2, Limit: 9},
		BlkioStats: api.BlkioStats{
			IoServiceBytesRecursive: []api.BlkioStatEntry{{Op: "Read", Major: 8, Minor: 1, Value: 512}},
			IoServicedRecursive:     none, IoQueuedRecursive: none, IoServiceTimeRecursive: none, IoWaitTimeRecursive: none,
			IoMergedRecursive: none, IoTimeRecursive: none, SectorsRecursive: none,
		},
	}
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	if err := fill(&out, 1); err == nil {
		t.Error("metrics of no known type were taken")
	}
}

func TestProc(t *testing.T) {
	used, cpus, err := parseStat([]byte("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1\ncpu1 0 0 0 0 0 0 0\nintr 5\ncpu9 1\n"))
	if used != 28*1e7 || cpus != 2 || err != nil {
		t.Errorf("used %d by %d CPUs, %v", used, cpus, err)
	}
	if _, _, err := parseStat([]byte("cpu 1 2\n")); err == nil {
		t.Error("too few numbers were taken")
	}
	got := parseDev([]byte("Inter-|   Receive  |  Transmit\n face |bytes\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"))
	want := map[string]api.NetworkStats{"eth0": {RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDropped: 8}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
