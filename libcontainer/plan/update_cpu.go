package plan

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// cpu compiles the changes of linux.resources.cpu but cpus and mems.
func (u *changeset) cpu(changes, merged *specs.LinuxCPU) {
	field := cpuAsked(changes)
	if field == "" {
		return
	}
	h := u.find("cpu", field)
	if h == nil {
		return
	}
	files := cpuFilesV1
	if h.Unified() {
		u.noRealtimeV2(changes)
		files = cpuFilesV2
	}
	u.weight(h, changes, merged, &files)
	u.bandwidth(h, changes, &files)
	u.realtime(h, changes, &files)
}

// realtime takes the way over the smaller quotient, as bandwidth does: the runtime is at
// most the period, and a parent bounds the quotient. Documentation/scheduler/sched-rt-group.rst.
func (u *changeset) realtime(h *host.Hierarchy, c *specs.LinuxCPU, files *cpuFiles) {
	period := func() { u.putSetUnsigned(h, rtPeriodField, files.rtPeriod, orZero(c.RealtimePeriod)) }
	runtime := func() { u.putSet(h, rtRuntimeField, files.rtRuntime, orZero(c.RealtimeRuntime)) }
	if orZero(c.RealtimePeriod) >= u.now.RTPeriod {
		period()
		runtime()
		return
	}
	runtime()
	period()
}

// cpuFiles are the names of one version of cgroups.
type cpuFiles struct {
	burst, quota, period, shares, rtPeriod, rtRuntime string
	unified                                           bool
}

var (
	cpuFilesV1 = cpuFiles{"cpu.cfs_burst_us", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "cpu.rt_period_us", "cpu.rt_runtime_us", false}
	cpuFilesV2 = cpuFiles{burst: "cpu.max.burst", quota: "cpu.max", shares: "cpu.weight", unified: true}
)

// weight sets shares and idle. An idle group takes no shares: they are set before it becomes
// one, and again when it ceases to be one, for the kernel starts it with the default then
// (sched_group_set_idle in kernel/sched/fair.c).
func (u *changeset) weight(h *host.Hierarchy, changes, merged *specs.LinuxCPU, files *cpuFiles) {
	shares := func(c *specs.LinuxCPU) {
		n := orZero(c.Shares)
		if n == 0 {
			return
		}
		if files.unified {
			n = cpuWeight(n)
		} else if n < minShares || n > maxShares {
			u.refuse(sharesField, "not in the range from 2 to 262144")
		}
		u.put(h, sharesField, files.shares, strconv.FormatUint(n, 10))
	}
	switch {
	case changes.Idle == nil:
		shares(changes)
	case *changes.Idle == 0:
		u.put(h, idleField, "cpu.idle", "0")
		shares(merged)
	default:
		if !u.now.Idle {
			shares(merged)
		}
		u.put(h, idleField, "cpu.idle", strconv.FormatInt(*changes.Idle, 10))
	}
}

// bandwidth orders quota, period and burst so that no step is refused where the end would
// not be: the burst is at most the quota, and a parent's limit bounds quota/period, which
// takes the way over the smaller of the two quotients. Documentation/scheduler/sched-bwc.rst.
func (u *changeset) bandwidth(h *host.Hierarchy, c *specs.LinuxCPU, files *cpuFiles) {
	burst := func() {
		if c.Burst == nil {
			return
		}
		write := u.put
		if !files.unified {
			write = u.try
		}
		write(h, burstField, files.burst, strconv.FormatUint(*c.Burst, 10))
	}
	quota, period := orZero(c.Quota), orZero(c.Period)
	burstFirst := c.Burst == nil || u.now.Quota < 0 || *c.Burst <= uint64(u.now.Quota)
	if burstFirst {
		burst()
	}
	switch {
	case files.unified:
		u.cpuMax(h, quota, period)
	case period >= u.now.Period:
		u.putSetUnsigned(h, periodField, files.period, period)
		u.putSet(h, quotaField, files.quota, quota)
	default:
		u.putSet(h, quotaField, files.quota, quota)
		u.putSetUnsigned(h, periodField, files.period, period)
	}
	if !burstFirst {
		burst()
	}
}

// cpuMax sets quota and period, which share a file; the one that is not asked for stays.
func (u *changeset) cpuMax(h *host.Hierarchy, quota int64, period uint64) {
	if quota == 0 && period == 0 {
		return
	}
	field := quotaField
	if quota == 0 {
		field, quota = periodField, u.now.Quota
	}
	if period == 0 {
		period = u.now.Period
	}
	if period == 0 {
		period = defaultPeriod
	}
	value := "max"
	if quota > 0 {
		value = strconv.FormatInt(quota, 10)
	}
	u.put(h, field, "cpu.max", value+" "+strconv.FormatUint(period, 10))
}
