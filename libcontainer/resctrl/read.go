package resctrl

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// HasCache reports whether the machine can divide its L3 cache (CAT).
func (t *Tree) HasCache() bool { return t.has("info/L3") }

// HasBandwidth reports whether the machine can limit memory bandwidth (MBA).
func (t *Tree) HasBandwidth() bool { return t.has("info/MB") }

func (t *Tree) has(name string) bool { return unix.Access(t.root+"/"+name, unix.F_OK) == nil }

// Schemata are the lines of a class.
func Schemata(group string) ([]string, error) {
	text, err := cgroup.ReadFile(group, schemataFile)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines, nil
}

// ReadStats collects what resctrl tells of a container. The figures of a class that others
// are in too are theirs as well, unless the container has a monitoring group.
func ReadStats(place *state.IntelRdt) (Stats, error) {
	t := At(place.Root)
	var s Stats
	all, err := Schemata(place.Root)
	if err != nil {
		return s, err
	}
	if s.Schemata, err = Schemata(place.Group); err != nil {
		return s, err
	}
	if t.HasCache() {
		s.L3CacheInfo = &CacheInfo{
			Mask: t.text("info/L3/cbm_mask"), MinBits: t.number("info/L3/min_cbm_bits"), NumClosIDs: t.number("info/L3/num_closids"),
		}
		s.L3CacheSchemaRoot, s.L3CacheSchema = lineOf(all, "L3:"), lineOf(s.Schemata, "L3:")
	}
	if t.HasBandwidth() {
		s.MemBwInfo = &BandwidthInfo{
			Granularity: t.number("info/MB/bandwidth_gran"), DelayLinear: t.number("info/MB/delay_linear"),
			MinBandwidth: t.number("info/MB/min_bandwidth"), NumClosIDs: t.number("info/MB/num_closids"),
		}
		s.MemBwSchemaRoot, s.MemBwSchema = lineOf(all, "MB:"), lineOf(s.Schemata, "MB:")
	}
	monitor := place.Monitor
	if monitor == "" {
		monitor = place.Group
	}
	t.readMonitor(monitor+"/mon_data", &s)
	return s, nil
}

// readMonitor reads the counters of each L3 cache, of those that the machine has.
func (t *Tree) readMonitor(dir string, s *Stats) {
	features := strings.Fields(t.text("info/L3_MON/mon_features"))
	domains, err := os.ReadDir(dir)
	if err != nil {
		return // a machine that counts nothing
	}
	traffic := slices.Contains(features, "mbm_total_bytes") || slices.Contains(features, "mbm_local_bytes")
	occupancy := slices.Contains(features, "llc_occupancy")
	var bandwidth []Bandwidth
	var use []Occupancy
	for _, d := range domains {
		at := &Tree{root: dir + "/" + d.Name()}
		if traffic {
			bandwidth = append(bandwidth, Bandwidth{at.number("mbm_total_bytes"), at.number("mbm_local_bytes")})
		}
		if occupancy {
			use = append(use, Occupancy{at.number("llc_occupancy")})
		}
	}
	if traffic {
		s.Bandwidth = &bandwidth
	}
	if occupancy {
		s.Occupancy = &use
	}
}

// text reads a small file, "" when there is none.
func (t *Tree) text(name string) string {
	text, err := cgroup.ReadFile(t.root, name)
	if err != nil {
		return ""
	}
	return text
}

// number is 0 for a file without one ("Unavailable").
func (t *Tree) number(name string) uint64 {
	n, err := strconv.ParseUint(t.text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func lineOf(lines []string, start string) string {
	for _, line := range lines {
		if strings.HasPrefix(line, start) {
			return line
		}
	}
	return ""
}
