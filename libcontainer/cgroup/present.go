package cgroup

import (
	"math"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Facts says which hierarchies and controllers the container has, which is all that a
// change of its limits must know of the machine.
func (s *Set) Facts() host.Cgroup {
	c := host.Cgroup{Mode: host.CgroupNone}
	for i := range s.groups {
		g := &s.groups[i]
		h := host.Hierarchy{Name: g.hierarchy}
		switch {
		case g.hierarchy != "":
			h.Controllers = strings.Split(g.hierarchy, ",")
			c.Mode = host.CgroupHybrid
		default:
			h.Controllers = strings.Fields(topControllers(g.dir))
			if c.Mode == host.CgroupNone {
				c.Mode = host.CgroupV2
			}
		}
		c.Hierarchies = append(c.Hierarchies, h)
	}
	return c
}

// topControllers reads the controllers of the topmost cgroup that is to be seen: one that
// the container's own has not yet can be turned on.
func topControllers(dir string) string {
	list := ""
	for at := dir; at != "/" && isCgroup(at); at = parentOf(at) {
		if all, err := readFile(at, controllersFile); err == nil {
			list = all
		}
	}
	return list
}

// Present reads what plan.Update must know of the limits in force. What can't be read
// counts as not set.
func (s *Set) Present() plan.Present {
	now := plan.Present{MemoryLimit: plan.NoLimit, Quota: -1}
	if g := s.v1("memory"); g != nil {
		now.MemoryLimit = g.number("memory.limit_in_bytes", plan.NoLimit)
	}
	if g := s.v1("cpu"); g != nil {
		if quota := g.number("cpu.cfs_quota_us", plan.NoLimit); quota <= math.MaxInt64 {
			now.Quota = int64(quota)
		}
		now.Period = g.number("cpu.cfs_period_us", 0)
		now.RTPeriod = g.number("cpu.rt_period_us", 0)
		now.Idle = g.number("cpu.idle", 0) == 1
	}
	if len(s.groups) == 1 && s.v2() != nil {
		s.v2().present(&now)
	}
	return now
}

// present reads the files of cgroup v2.
func (g *group) present(now *plan.Present) {
	now.MemoryUsage = g.number("memory.current", 0)
	now.Idle = g.number("cpu.idle", 0) == 1
	if limit, err := readFile(g.dir, "cpu.max"); err == nil {
		quota, period, _ := strings.Cut(limit, " ")
		if n, err := strconv.ParseInt(quota, 10, 64); err == nil {
			now.Quota = n
		}
		if n, err := strconv.ParseUint(period, 10, 64); err == nil {
			now.Period = n
		}
	}
}

// number reads a file that holds a number; otherwise ("max", "-1") stands for what is none.
func (g *group) number(file string, otherwise uint64) uint64 {
	text, err := readFile(g.dir, file)
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}
