package plan

import (
	"math"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

const (
	sharesField    = "cpu.shares"
	quotaField     = "cpu.quota"
	periodField    = "cpu.period"
	burstField     = "cpu.burst"
	idleField      = "cpu.idle"
	rtPeriodField  = "cpu.realtimePeriod"
	rtRuntimeField = "cpu.realtimeRuntime"

	// The shares that v1 kernels accept; others they would silently move into the range.
	minShares, maxShares = 2, 262144
	// The period that kernels use where none is set, in microseconds.
	defaultPeriod = 100000
)

// cpu compiles linux.resources.cpu but cpus and mems.
func (l *limits) cpu(c *specs.LinuxCPU) {
	field := cpuAsked(c)
	if field == "" {
		return
	}
	h := l.find("cpu", field)
	switch {
	case h == nil:
	case h.Unified():
		l.cpuV2(h, c)
	default:
		l.cpuV1(h, c)
	}
}

// cpuAsked names the first field that asks for something, or is empty.
func cpuAsked(c *specs.LinuxCPU) string {
	switch {
	case c == nil:
		return ""
	case orZero(c.Shares) != 0:
		return sharesField
	case orZero(c.Quota) != 0:
		return quotaField
	case orZero(c.Period) != 0:
		return periodField
	case c.Burst != nil:
		return burstField
	case c.Idle != nil:
		return idleField
	case orZero(c.RealtimePeriod) != 0:
		return rtPeriodField
	case orZero(c.RealtimeRuntime) != 0:
		return rtRuntimeField
	}
	return ""
}

// cpuV1 compiles to Documentation/scheduler/sched-bwc.rst and sched-rt-group.rst.
// Shares come before idle, which refuses them; burst after quota, which bounds it.
func (l *limits) cpuV1(h *host.Hierarchy, c *specs.LinuxCPU) {
	if shares := orZero(c.Shares); shares != 0 {
		if shares < minShares || shares > maxShares {
			l.refuse(sharesField, "not in the range from 2 to 262144")
		}
		l.put(h, sharesField, "cpu.shares", strconv.FormatUint(shares, 10))
	}
	l.putSetUnsigned(h, periodField, "cpu.cfs_period_us", orZero(c.Period))
	l.putSet(h, quotaField, "cpu.cfs_quota_us", orZero(c.Quota))
	if c.Burst != nil {
		l.try(h, burstField, "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10))
	}
	if c.Idle != nil {
		l.put(h, idleField, "cpu.idle", strconv.FormatInt(*c.Idle, 10))
	}
	l.putSetUnsigned(h, rtPeriodField, "cpu.rt_period_us", orZero(c.RealtimePeriod))
	l.putSet(h, rtRuntimeField, "cpu.rt_runtime_us", orZero(c.RealtimeRuntime))
}

// cpuV2 compiles to cgroup-v2.rst "CPU Interface Files".
func (l *limits) cpuV2(h *host.Hierarchy, c *specs.LinuxCPU) {
	l.noRealtimeV2(c)
	if shares := orZero(c.Shares); shares != 0 {
		l.put(h, sharesField, "cpu.weight", strconv.FormatUint(cpuWeight(shares), 10))
	}
	if quota, period := orZero(c.Quota), orZero(c.Period); quota != 0 || period != 0 {
		field, value := quotaField, "max"
		if quota > 0 {
			value = strconv.FormatInt(quota, 10)
		}
		if quota == 0 {
			field = periodField
		}
		if period == 0 {
			period = defaultPeriod
		}
		l.put(h, field, "cpu.max", value+" "+strconv.FormatUint(period, 10))
	}
	if c.Burst != nil {
		l.put(h, burstField, "cpu.max.burst", strconv.FormatUint(*c.Burst, 10))
	}
	if c.Idle != nil {
		l.put(h, idleField, "cpu.idle", strconv.FormatInt(*c.Idle, 10))
	}
}

func (l *limits) noRealtimeV2(c *specs.LinuxCPU) {
	if orZero(c.RealtimePeriod) != 0 {
		l.noV2(rtPeriodField)
	}
	if orZero(c.RealtimeRuntime) != 0 {
		l.noV2(rtRuntimeField)
	}
}

// cpuWeight turns v1 shares (2 to 262144, default 1024) into a v2 weight (1 to
// 10000, default 100). The curve is the quadratic through the three fixed points
// on logarithmic scales that runc and crun agree on since 2025:
// lg weight = (x² + 125x)/612 − 7/34 with x = log₂ shares.
func cpuWeight(shares uint64) uint64 {
	switch {
	case shares <= minShares:
		return 1
	case shares >= maxShares:
		return 10000
	}
	x := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (x*x+125*x)/612-7.0/34)))
}

// cpuset compiles cpus and mems, Documentation/admin-guide/cgroup-v1/cpusets.rst; the
// files have one name in both versions.
func (l *limits) cpuset(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	l.cpusetList("cpu.cpus", "cpuset.cpus", c.Cpus)
	l.cpusetList("cpu.mems", "cpuset.mems", c.Mems)
}

func (l *limits) cpusetList(field, file, list string) {
	if list == "" {
		return
	}
	if h := l.find("cpuset", field); h != nil {
		l.put(h, field, file, list)
	}
}

// putSetUnsigned writes a number that is set.
func (l *limits) putSetUnsigned(h *host.Hierarchy, field, file string, n uint64) {
	if n != 0 {
		l.put(h, field, file, strconv.FormatUint(n, 10))
	}
}
