package metrics

import (
	"fmt"
	"slices"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
)

// Container is what a task's shim has told of its cgroup: the Metrics of cgroup v1 or of v2.
type Container struct {
	Namespace, ID string
	Data          typeurl.Any
}

// figure is one of the families of containers: its name as containerd has it, without the prefix, and where it is.
type figure[M any] struct {
	name, help string
	value      func(M) uint64
}

var v1 = []figure[*cgroup1.Metrics]{
	{"cpu_total_nanoseconds", "CPU time.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetUsage().GetTotal() }},
	{"cpu_kernel_nanoseconds", "CPU time in the kernel.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetUsage().GetKernel() }},
	{"cpu_user_nanoseconds", "CPU time in programs.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetUsage().GetUser() }},
	{"cpu_throttle_periods_total", "Periods of the CPU quota.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetThrottling().GetPeriods() }},
	{"cpu_throttled_periods_total", "Periods that were cut short.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetThrottling().GetThrottledPeriods() }},
	{"cpu_throttled_time_nanoseconds", "Time without CPU for want of quota.", func(m *cgroup1.Metrics) uint64 { return m.GetCPU().GetThrottling().GetThrottledTime() }},
	{"memory_usage_usage_bytes", "Memory, page cache included.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetUsage().GetUsage() }},
	{"memory_usage_limit_bytes", "Limit of it.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetUsage().GetLimit() }},
	{"memory_usage_max_bytes", "The most that there was.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetUsage().GetMax() }},
	{"memory_usage_failcnt_total", "Times that the limit was hit.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetUsage().GetFailcnt() }},
	{"memory_rss_bytes", "Memory without page cache.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetRSS() }},
	{"memory_cache_bytes", "Page cache.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetCache() }},
	{"memory_inactive_file_bytes", "Page cache that was not used lately.", func(m *cgroup1.Metrics) uint64 { return m.GetMemory().GetInactiveFile() }},
	{"memory_oom_total", "Processes killed for want of memory.", func(m *cgroup1.Metrics) uint64 { return m.GetMemoryOomControl().GetOomKill() }},
	{"pids_current", "Processes and threads.", func(m *cgroup1.Metrics) uint64 { return m.GetPids().GetCurrent() }},
	{"pids_limit", "Limit of them.", func(m *cgroup1.Metrics) uint64 { return m.GetPids().GetLimit() }},
}

var v2 = []figure[*cgroup2.Metrics]{
	{"cpu_usage_usec_microseconds", "CPU time.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetUsageUsec() }},
	{"cpu_user_usec_microseconds", "CPU time in programs.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetUserUsec() }},
	{"cpu_system_usec_microseconds", "CPU time in the kernel.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetSystemUsec() }},
	{"cpu_nr_periods_total", "Periods of the CPU quota.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetNrPeriods() }},
	{"cpu_nr_throttled_total", "Periods that were cut short.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetNrThrottled() }},
	{"cpu_throttled_usec_microseconds", "Time without CPU for want of quota.", func(m *cgroup2.Metrics) uint64 { return m.GetCPU().GetThrottledUsec() }},
	{"memory_usage_bytes", "Memory, page cache included.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetUsage() }},
	{"memory_usage_limit_bytes", "Limit of it.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetUsageLimit() }},
	{"memory_swap_usage_bytes", "Swap.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetSwapUsage() }},
	{"memory_swap_limit_bytes", "Limit of it.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetSwapLimit() }},
	{"memory_anon_bytes", "Memory without page cache.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetAnon() }},
	{"memory_file_bytes", "Page cache.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetFile() }},
	{"memory_inactive_file_bytes", "Page cache that was not used lately.", func(m *cgroup2.Metrics) uint64 { return m.GetMemory().GetInactiveFile() }},
	{"memory_oom_total", "Times that memory ran out.", func(m *cgroup2.Metrics) uint64 { return m.GetMemoryEvents().GetOom() }},
	{"pids_current", "Processes and threads.", func(m *cgroup2.Metrics) uint64 { return m.GetPids().GetCurrent() }},
	{"pids_limit", "Limit of them.", func(m *cgroup2.Metrics) uint64 { return m.GetPids().GetLimit() }},
}

// Containers are the figures of containers. One of them that is not understood is left out, and told in the error.
func Containers(list []Container) ([]Family, error) {
	ones, twos := families(v1), families(v2)
	var fault error
	for _, c := range list {
		data, err := typeurl.UnmarshalAny(c.Data)
		if err != nil {
			fault = fmt.Errorf("metrics of %s/%s: %w", c.Namespace, c.ID, err)
			continue
		}
		switch m := data.(type) {
		case *cgroup1.Metrics:
			add(ones, v1, m, c)
		case *cgroup2.Metrics:
			add(twos, v2, m, c)
		default:
			fault = fmt.Errorf("metrics of %s/%s: a %T is unknown", c.Namespace, c.ID, m)
		}
	}
	return merge(ones, twos), fault
}

// merge adds the samples of families that are in both lists to those of the first: a name is written once.
func merge(list, more []Family) []Family {
	for _, f := range more {
		i := slices.IndexFunc(list, func(have Family) bool { return have.Name == f.Name })
		if i < 0 {
			list = append(list, f)
			continue
		}
		list[i].Samples = append(list[i].Samples, f.Samples...)
	}
	return list
}

func families[M any](figures []figure[M]) []Family {
	list := make([]Family, len(figures))
	for i, f := range figures {
		list[i] = Family{Name: "container_" + f.name, Help: f.help, Type: Gauge}
	}
	return list
}

func add[M any](to []Family, figures []figure[M], m M, c Container) {
	labels := []Label{{"container_id", c.ID}, {"namespace", c.Namespace}}
	for i, f := range figures {
		to[i].Samples = append(to[i].Samples, Sample{Labels: labels, Value: float64(f.value(m))})
	}
}
