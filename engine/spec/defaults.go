package spec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is PATH when neither image nor client set one.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultShmSize is the size of /dev/shm in bytes.
const defaultShmSize = 64 << 20

// initInside is where --init's program is in the container.
const initInside = "/sbin/docker-init"

// maskedPaths tell about the whole machine, or of what others do on it; nothing in a container may read them.
var maskedPaths = []string{
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts", // Timing of keystrokes: GHSA-6fw5-f8r9-fgfm.
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/devices/virtual/powercap", // Power use tells keys: GHSA-jq35-85cj-fj4p.
	"/sys/firmware",
}

// readonlyPaths change the whole machine when written.
var readonlyPaths = []string{
	"/proc/bus",
	"/proc/fs",
	"/proc/irq",
	"/proc/sys",
	"/proc/sysrq-trigger",
}

// defaultMounts are there in every container unless the client mounts something else.
func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{
			Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
	}
}

// deviceRules are what a container may do with devices by default: nothing, but the harmless ones that the runtime
// makes; /dev/fuse is said no to by name.
func deviceRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, n := range [][2]int64{{1, 5}, {1, 3}, {1, 9}, {1, 8}, {5, 0}, {5, 1}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &n[0], Minor: &n[1], Access: "rwm"})
	}
	fuse := [2]int64{10, 229}
	return append(rules, specs.LinuxDeviceCgroup{Allow: false, Type: "c", Major: &fuse[0], Minor: &fuse[1], Access: "rwm"})
}
