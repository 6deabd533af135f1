package plan

import (
	"math"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
)

// Property is one property of a systemd unit, org.freedesktop.systemd1(5).
type Property struct {
	Name  string
	Value gvariant.Value
	// MayMiss lets a systemd do without it that is too old to know it.
	MayMiss bool
}

func (p *Property) String() string { return p.Name + "=" + p.Value.String() }

// Properties are the limits that systemd must know of, as properties of the container's
// unit: it writes its own idea of them to the cgroup at every daemon-reload. What it has no
// property for it leaves alone.
func Properties(writes []WriteCgroup) []Property {
	var list propertyList
	quota, period := uint64(0), uint64(0)
	for i := range writes {
		w := &writes[i]
		switch w.File {
		case "cpu.max":
			quota, period = readCPUMax(w.Value)
		case "cpu.cfs_quota_us":
			quota = limitNumber(w.Value)
		case "cpu.cfs_period_us":
			period = limitNumber(w.Value)
		default:
			list.limit(w.File, w.Value)
		}
	}
	list.quota(quota, period)
	return list
}

type propertyList []Property

// set gives a property its value.
func (l *propertyList) set(name string, v gvariant.Value) { l.put(Property{Name: name, Value: v}) }

// try is set for what only a newer systemd knows. The cgroup's file has it all the same.
func (l *propertyList) try(name string, v gvariant.Value) {
	l.put(Property{Name: name, Value: v, MayMiss: true})
}

// put adds a property; a later one replaces an earlier.
func (l *propertyList) put(p Property) {
	for i := range *l {
		if (*l)[i].Name == p.Name {
			(*l)[i] = p
			return
		}
	}
	*l = append(*l, p)
}

// limitProperties are the files that hold one number, and what systemd calls it.
func limitProperty(file string) string {
	switch file {
	case "pids.max":
		return "TasksMax"
	case "memory.max":
		return "MemoryMax"
	case "memory.low":
		return "MemoryLow"
	case "memory.min":
		return "MemoryMin"
	case "memory.high":
		return "MemoryHigh"
	case "memory.swap.max":
		return "MemorySwapMax"
	case "memory.limit_in_bytes":
		return "MemoryLimit"
	case "cpu.weight":
		return "CPUWeight"
	case "cpu.shares":
		return "CPUShares"
	case "blkio.weight":
		return "BlockIOWeight"
	}
	return ""
}

// limit adds the property for one file.
func (l *propertyList) limit(file, value string) {
	value = strings.TrimSpace(value)
	switch file {
	case "cpuset.cpus":
		l.try("AllowedCPUs", cpuMask(value))
	case "cpuset.mems":
		l.try("AllowedMemoryNodes", cpuMask(value))
	case "cpu.idle":
		if value == "1" {
			l.try("CPUWeight", gvariant.Uint64(0)) // "idle", since systemd 252
		}
	case "io.bfq.weight":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil && n >= minBlockWeight {
			l.set("IOWeight", gvariant.Uint64(IOWeight(n)))
		}
	case "io.weight":
		if n, err := strconv.ParseUint(strings.TrimPrefix(value, "default "), 10, 16); err == nil {
			l.set("IOWeight", gvariant.Uint64(n))
		}
	default:
		if name := limitProperty(file); name != "" {
			l.set(name, gvariant.Uint64(limitNumber(value)))
		}
	}
}

// IOWeight turns a weight on the scale of bfq, 10 to 1000, to that of io.weight, 1 to 10000.
func IOWeight(bfq uint64) uint64 { return 1 + (bfq-minBlockWeight)*9999/990 }

// limitNumber reads a limit; systemd's "infinity" is the highest number.
func limitNumber(value string) uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil { // "max", "-1"
		return math.MaxUint64
	}
	return n
}

func readCPUMax(value string) (quota, period uint64) {
	q, p, _ := strings.Cut(strings.TrimSpace(value), " ")
	if period = limitNumber(p); period == math.MaxUint64 {
		period = defaultPeriod
	}
	return limitNumber(q), period
}

// quota adds what systemd calls the quota: microseconds in a second. It keeps whole
// percents, so it is rounded up: the file, written afterwards, has the exact value.
func (l *propertyList) quota(quota, period uint64) {
	const second, percent = 1_000_000, 10_000
	if quota == 0 && period == 0 {
		return
	}
	if period == 0 {
		period = defaultPeriod
	}
	l.try("CPUQuotaPeriodUSec", gvariant.Uint64(period))
	switch {
	case quota == math.MaxUint64:
		l.set("CPUQuotaPerSecUSec", gvariant.Uint64(quota))
	case quota > 0 && quota < math.MaxUint64/second:
		perSecond := (quota*second/period + percent - 1) / percent * percent
		l.set("CPUQuotaPerSecUSec", gvariant.Uint64(perSecond))
	}
}

// maxCPU bounds the numbers in a list of CPUs, above any machine.
const maxCPU = 1 << 16

// cpuMask turns a list of CPUs or memory nodes, cpuset(7) "List format", into the bit mask
// that systemd takes: the first byte has numbers 0 to 7.
func cpuMask(list string) gvariant.Value {
	var mask []byte
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 32)
		last := first
		if isRange && err == nil {
			last, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || last > maxCPU {
			continue // the kernel will refuse the list, and the error name its field
		}
		for n := first; n <= last; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return gvariant.Bytes(mask)
}
