package stats

import (
	"math"
	"strings"
)

// microsecond in nanoseconds.
const microsecond = 1000

// cpuV2 reads cgroup-v2.rst "CPU Interface Files".
func cpuV2(f *source, s *Stats) {
	stat := f.table("cpu.stat")
	u := &s.CPU.Usage
	u.Total, u.User, u.Kernel = stat["usage_usec"]*microsecond, stat["user_usec"]*microsecond, stat["system_usec"]*microsecond
	s.CPU.Throttling = Throttling{stat["nr_periods"], stat["nr_throttled"], stat["throttled_usec"] * microsecond}
	s.CPU.PSI = f.pressure("cpu.pressure")
}

// memoryV2 reads cgroup-v2.rst "Memory Interface Files". Swap is what it is on v1: memory and
// swap together, of which the most so far can't be known.
func memoryV2(f *source, s *Stats) {
	m := &s.Memory
	m.Raw = f.table("memory.stat")
	m.Cache = m.Raw["file"]
	m.Usage = MemoryEntry{Limit: f.number("memory.max"), Usage: f.number("memory.current"), Max: f.number("memory.peak")}
	m.Swap = MemoryEntry{Limit: f.number("memory.swap.max"), Usage: f.number("memory.swap.current") + m.Usage.Usage}
	if m.Swap.Limit != math.MaxUint64 {
		m.Swap.Limit += m.Usage.Limit
	}
	if m.Usage.Limit == math.MaxUint64 {
		m.Swap.Limit = math.MaxUint64
	}
	m.PSI = f.pressure("memory.pressure")
}

// ioV2 reads lines "MAJOR:MINOR key=value …" into the tables of v1, cgroup-v2.rst "IO
// Interface Files".
func ioV2(f *source, s *Stats) {
	b := &s.BlockIO
	for line := range strings.SplitSeq(f.text("io.stat"), "\n") {
		device, values, _ := strings.Cut(line, " ")
		major, minor, ok := strings.Cut(device, ":")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(values) {
			key, value, _ := strings.Cut(word, "=")
			e := BlockIOEntry{Major: number(major), Minor: number(minor), Value: number(value)}
			switch key {
			case "rbytes":
				e.Op = "Read"
				b.ServiceBytes = append(b.ServiceBytes, e)
			case "wbytes":
				e.Op = "Write"
				b.ServiceBytes = append(b.ServiceBytes, e)
			case "rios":
				e.Op = "Read"
				b.Serviced = append(b.Serviced, e)
			case "wios":
				e.Op = "Write"
				b.Serviced = append(b.Serviced, e)
			}
		}
	}
	b.PSI = f.pressure("io.pressure")
}
