package stats

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
)

// tick is a clock tick of /proc in nanoseconds: USER_HZ is 100 on every architecture that we run on.
const tick = 1e9 / 100

// machineMemory is all memory, in bytes; 0 when it cannot be told.
func machineMemory() uint64 {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return 0
	}
	return i.Totalram * uint64(i.Unit)
}

// systemCPU is what all CPUs together were used, idle time included, in nanoseconds, and how many there are.
func systemCPU() (used uint64, cpus uint32, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseStat(b)
}

func parseStat(b []byte) (used uint64, cpus uint32, err error) {
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu") {
			break // They are the first lines.
		}
		if fields[0] != "cpu" {
			cpus++
			continue
		}
		if len(fields) < 8 {
			return 0, 0, fmt.Errorf("/proc/stat: %d fields of cpu", len(fields))
		}
		for _, f := range fields[1:8] { // Guest time, behind them, is in user time already.
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("/proc/stat: %w", err)
			}
			used += n
		}
	}
	return used * tick, cpus, nil
}

// kernelLinks are the interfaces that the kernel puts into every network namespace by itself: nobody asked for them.
var kernelLinks = map[string]bool{
	"lo": true, "sit0": true, "tunl0": true, "gre0": true, "gretap0": true, "erspan0": true, "ip_vti0": true,
	"ip6_vti0": true, "ip6tnl0": true, "ip6gre0": true,
}

// networks are the interfaces of a container's namespace. It has none of its own in the host's network.
func (s *Service) networks(c *container.Container) map[string]api.NetworkStats {
	owner := c
	for range 16 {
		if owner.HostConfig == nil || owner.HostConfig.NetworkMode.IsHost() || owner.HostConfig.NetworkMode.IsNone() {
			return nil
		}
		if !owner.HostConfig.NetworkMode.IsContainer() {
			break
		}
		next, err := s.records.Get(owner.HostConfig.NetworkMode.ConnectedContainer())
		if err != nil {
			return nil
		}
		owner = next
	}
	if c.State.Pid <= 0 {
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", c.State.Pid))
	if err != nil {
		return nil // It ended meanwhile.
	}
	return parseDev(b)
}

// parseDev reads /proc/net/dev: two lines of titles, then "name: 8 numbers of receiving, 8 of sending".
func parseDev(b []byte) map[string]api.NetworkStats {
	all := map[string]api.NetworkStats{}
	for line := range bytes.Lines(b) {
		name, rest, ok := strings.Cut(string(line), ":")
		name = strings.TrimSpace(name)
		fields := strings.Fields(rest)
		if !ok || len(fields) < 16 || kernelLinks[name] {
			continue
		}
		n := make([]uint64, len(fields))
		for i, f := range fields {
			n[i], _ = strconv.ParseUint(f, 10, 64)
		}
		all[name] = api.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return all
}
