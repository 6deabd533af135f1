package host

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const unified = "/sys/fs/cgroup"

// probe is one thing that can be limited: where the kernel shows it, and what Docker says when it does not.
type probe struct {
	name, file, warning string
}

// v1 lists, by hierarchy, what is looked for in cgroup v1.
var v1 = []struct {
	controller, missing string
	probes              []probe
}{
	{"memory", "Your kernel does not support cgroup memory limit", []probe{
		{Memory, "", ""},
		{Swap, "memory.memsw.limit_in_bytes", "Your kernel does not support swap memory limit"},
		{MemoryReservation, "memory.soft_limit_in_bytes", "Your kernel does not support memory reservation"},
		{OOMKillDisable, "memory.oom_control", "Your kernel does not support oom control"},
		{MemorySwappiness, "memory.swappiness", "Your kernel does not support memory swappiness"},
	}},
	{"cpu", "Unable to find cpu cgroup in mounts", []probe{
		{CPUShares, "cpu.shares", "Your kernel does not support CPU shares"},
		{CPUQuota, "cpu.cfs_quota_us", "Your kernel does not support CPU CFS scheduler"},
		{CPURealtime, "cpu.rt_period_us", "Your kernel does not support CPU realtime scheduler"},
	}},
	{"blkio", "Unable to find blkio cgroup in mounts", []probe{
		{BlkioWeight, "blkio.weight", "Your kernel does not support cgroup blkio weight"},
		{BlkioWeightDevice, "blkio.weight_device", "Your kernel does not support cgroup blkio weight_device"},
		{BlkioReadBps, "blkio.throttle.read_bps_device", "Your kernel does not support cgroup blkio throttle.read_bps_device"},
		{BlkioWriteBps, "blkio.throttle.write_bps_device", "Your kernel does not support cgroup blkio throttle.write_bps_device"},
		{BlkioReadIOps, "blkio.throttle.read_iops_device", "Your kernel does not support cgroup blkio throttle.read_iops_device"},
		{BlkioWriteIOps, "blkio.throttle.write_iops_device", "Your kernel does not support cgroup blkio throttle.write_iops_device"},
	}},
	{"cpuset", "Unable to find cpuset cgroup in mounts", []probe{{Cpuset, "", ""}}},
	{"pids", "Unable to find pids cgroup in mounts", []probe{{Pids, "", ""}}},
}

// probeV1 looks at the hierarchies, by controller.
func (f *Facts) probeV1(mounts map[string]string) {
	f.Controllers = map[string]bool{DeviceRestrictions: mounts["devices"] != ""}
	for _, h := range v1 {
		dir, ok := mounts[h.controller]
		if !ok {
			f.Warnings = append(f.Warnings, h.missing)
			continue
		}
		for _, p := range h.probes {
			if f.Controllers[p.name] = exists(filepath.Join(dir, p.file)); !f.Controllers[p.name] {
				f.Warnings = append(f.Warnings, p.warning)
			}
		}
	}
	if dir, ok := mounts["cpuset"]; ok {
		f.CPUSet = firstLine(filepath.Join(dir, "cpuset.cpus"))
		f.MemSet = firstLine(filepath.Join(dir, "cpuset.mems"))
	}
}

// probeV2 looks at the unified hierarchy. It never has a way to keep the kernel from killing for memory, swappiness, or
// realtime scheduling.
func (f *Facts) probeV2(root string) {
	f.Controllers = map[string]bool{DeviceRestrictions: !f.UserNamespace}
	have := strings.Fields(firstLine(filepath.Join(root, "cgroup.controllers")))
	for _, c := range []struct {
		controller string
		gives      []string
	}{
		{"memory", []string{Memory, MemoryReservation}},
		{"cpu", []string{CPUShares, CPUQuota}},
		{"io", []string{BlkioWeight, BlkioWeightDevice, BlkioReadBps, BlkioWriteBps, BlkioReadIOps, BlkioWriteIOps}},
		{"cpuset", []string{Cpuset}},
		{"pids", []string{Pids}},
	} {
		if !slices.Contains(have, c.controller) {
			f.Warnings = append(f.Warnings, "Unable to find "+c.controller+" controller")
			continue
		}
		for _, g := range c.gives {
			f.Controllers[g] = true
		}
	}
	if f.Controllers[Memory] {
		// The root has no such file: our own group is asked.
		f.Controllers[Swap] = exists(filepath.Join(root, ownGroup("/proc/self/cgroup"), "memory.swap.max"))
	}
	f.CPUSet = firstLine(filepath.Join(root, "cpuset.cpus.effective"))
	f.MemSet = firstLine(filepath.Join(root, "cpuset.mems.effective"))
}

// ownGroup is the path of this process in the unified hierarchy.
func ownGroup(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return "/"
}

// v1Mounts finds where each controller's hierarchy is mounted.
func v1Mounts() (map[string]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// 36 25 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || right[0] != "cgroup" {
			continue
		}
		for opt := range strings.SplitSeq(right[2], ",") {
			if _, seen := found[opt]; !seen {
				found[opt] = left[4]
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mounts of cgroups: %w", err)
	}
	return found, nil
}
