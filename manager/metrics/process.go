package metrics

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// start is taken for the time at which the process began.
var start = time.Now()

// Process is what Prometheus' libraries say of each Go program. What cannot be read is left out.
func Process() []Family {
	gauge := func(name, help string, value float64) Family {
		return Family{Name: name, Help: help, Type: Gauge, Samples: []Sample{{Value: value}}}
	}
	list := []Family{
		gauge("go_goroutines", "Goroutines that exist.", float64(runtime.NumGoroutine())),
		gauge("process_start_time_seconds", "Start of the process, since 1970.", float64(start.UnixNano())/1e9),
	}
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		list = append(list, gauge("go_memstats_heap_alloc_bytes", "Bytes of objects on the heap.", float64(heap[0].Value.Uint64())))
	}
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		seconds := float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
		list = append(list, Family{
			Name: "process_cpu_seconds_total", Help: "CPU time, user and system.", Type: Counter,
			Samples: []Sample{{Value: seconds}},
		})
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		list = append(list, gauge("process_max_fds", "Limit of open files.", float64(limit.Cur)))
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		list = append(list, gauge("process_open_fds", "Open files.", float64(len(fds)-1))) // less the one of ReadDir
	}
	if pages := memory(); pages != nil {
		size := float64(os.Getpagesize())
		list = append(list,
			gauge("process_virtual_memory_bytes", "Address space.", pages[0]*size),
			gauge("process_resident_memory_bytes", "Memory in RAM.", pages[1]*size))
	}
	return list
}

// memory is the first two fields of statm, in pages; nil: unreadable.
func memory() []float64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return nil
	}
	pages := make([]float64, 2)
	for i := range pages {
		if pages[i], err = strconv.ParseFloat(string(fields[i]), 64); err != nil {
			return nil
		}
	}
	return pages
}
