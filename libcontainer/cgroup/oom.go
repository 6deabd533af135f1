package cgroup

import "strconv"

// OOMKills counts the container's processes that the kernel killed for want of
// memory. It is 0 without a memory cgroup, and on kernels that do not count.
func (s *Set) OOMKills() (uint64, error) {
	g, file := s.v1("memory"), "memory.oom_control"
	if g == nil {
		g, file = s.v2(), "memory.events"
	}
	if g == nil {
		return 0, nil
	}
	content, err := readFile(g.dir, file)
	if err != nil {
		if gone(err) {
			return 0, nil
		}
		return 0, err
	}
	value, ok := wordAfter(content, "oom_kill")
	if !ok {
		return 0, nil
	}
	return strconv.ParseUint(value, 10, 64)
}
