package validate

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// onLinux is a bad case that changes linux only.
func onLinux(change func(*specs.Linux), want ...string) badCase {
	return badCase{change: func(s *specs.Spec) { change(s.Linux) }, want: want}
}

// without removes a namespace.
func without(l *specs.Linux, kind specs.LinuxNamespaceType) {
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

var namespaceCases = map[string]badCase{
	"an unknown namespace": onLinux(func(l *specs.Linux) { l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: "net"}) },
		`linux.namespaces[8].type: is "net", must be one of pid, network, mount, ipc, uts, user, cgroup, time`),
	"a namespace twice": onLinux(func(l *specs.Linux) {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: "pid", Path: "/x"})
	},
		`linux.namespaces[8]: duplicated namespace "pid", is already linux.namespaces[0]`),
	"a relative namespace": onLinux(func(l *specs.Linux) { l.Namespaces[1].Path = "ns/net" },
		`linux.namespaces[1].path: is "ns/net", must be an absolute path`),
	"no mount namespace": onLinux(func(l *specs.Linux) { without(l, "mount") },
		"linux.maskedPaths: unable to restrict sys entries without a private MNT namespace",
		"linux.readonlyPaths: unable to restrict sys entries without a private MNT namespace"),
	"no user namespace for mappings": onLinux(func(l *specs.Linux) { without(l, "user"); l.Sysctl = nil },
		"linux.uidMappings: needs a user namespace in linux.namespaces",
		"linux.gidMappings: needs a user namespace in linux.namespaces"),
	"no mappings for a user namespace": onLinux(func(l *specs.Linux) { l.UIDMappings, l.GIDMappings = nil, nil },
		"linux.uidMappings: must map container id 0, for a new user namespace is asked for",
		"linux.gidMappings: must map container id 0, for a new user namespace is asked for"),
	"mappings without root": onLinux(func(l *specs.Linux) {
		l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1, HostID: 0, Size: 1000}}
	},
		"linux.uidMappings: must map container id 0, for a new user namespace is asked for"),
	"mappings that overlap": onLinux(func(l *specs.Linux) {
		l.UIDMappings[1] = specs.LinuxIDMapping{ContainerID: 999, HostID: 5, Size: 5}
		l.GIDMappings[1] = specs.LinuxIDMapping{ContainerID: 1000, HostID: 99999, Size: 2}
	},
		"linux.uidMappings[1].containerID: overlaps the container ids of linux.uidMappings[0]",
		"linux.gidMappings[1].hostID: overlaps the host ids of linux.gidMappings[0]"),
	"mappings of too high ids": onLinux(func(l *specs.Linux) {
		l.UIDMappings[1] = specs.LinuxIDMapping{ContainerID: 1000, HostID: 4294967295, Size: 1}
		l.GIDMappings[1] = specs.LinuxIDMapping{ContainerID: 1000, HostID: 0, Size: 4294966296}
	},
		"linux.uidMappings[1].hostID: 1 ids from 4294967295 on end after the highest id 4294967294",
		"linux.gidMappings[1].containerID: 4294966296 ids from 1000 on end after the highest id 4294967294",
		"linux.gidMappings[1].hostID: overlaps the host ids of linux.gidMappings[0]"),
	"mappings of no ids": onLinux(func(l *specs.Linux) {
		l.UIDMappings = append(l.UIDMappings, specs.LinuxIDMapping{})
		l.GIDMappings = append(l.GIDMappings, specs.LinuxIDMapping{})
	},
		"linux.uidMappings[2].size: is 0, must be at least 1",
		"linux.gidMappings[2].size: is 0, must be at least 1"),
	"more mappings than the kernel takes": onLinux(func(l *specs.Linux) {
		for i := range uint32(339) {
			l.UIDMappings = append(l.UIDMappings, specs.LinuxIDMapping{ContainerID: 5000 + i, HostID: 5000 + i, Size: 1})
		}
	}, "linux.uidMappings: has 341 entries, must have at most 340"),
	"rootless without a user namespace": {
		uid: 1000,
		change: func(s *specs.Spec) {
			s.Mounts, s.Linux = nil, &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "mount"}, {Type: "uts"}}}
		},
		want: []string{"linux.namespaces: must have a user namespace, for the runtime runs as uid 1000"},
	},
	"offsets without a time namespace": onLinux(func(l *specs.Linux) { without(l, "time") },
		"linux.timeOffsets: needs a time namespace in linux.namespaces"),
	"offsets for a joined time namespace": onLinux(func(l *specs.Linux) { l.Namespaces[7].Path = "/x" },
		"linux.timeOffsets: can't change the time namespace that linux.namespaces joins by path"),
	"offsets of an unknown clock and a full second": onLinux(func(l *specs.Linux) {
		l.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {Secs: 1}, "boottime": {Nanosecs: 1e9}}
	},
		"linux.timeOffsets.boottime.nanosecs: is 1000000000, must be below 1000000000",
		"linux.timeOffsets.realtime: is an unknown clock, must be monotonic or boottime"),
}

// onSysctl is a bad case with a single kernel parameter.
func onSysctl(key, rule string) badCase {
	return onLinux(func(l *specs.Linux) {
		l.Namespaces = []specs.LinuxNamespace{{Type: "mount"}, {Type: "user"}, {Type: "time"}, {Type: "uts"}}
		l.NetDevices = nil
		l.Sysctl = map[string]string{key: "1"}
	}, "linux.sysctl"+rule)
}

const escapes = `: has an empty, "." or ".." step, must be a path below /proc/sys`

var sysctlCases = map[string]badCase{
	"a parameter of the host":           onSysctl("vm.swappiness", `["vm.swappiness"]: is not in a separate kernel namespace`),
	"a parameter of one step":           onSysctl("kernel", `.kernel: is not in a separate kernel namespace`),
	"no parameter":                      onSysctl("", `[""]: the key must not be empty`),
	"a parameter with a NUL":            onSysctl("net.\x00", `["net.\x00"]: the key contains a NUL byte`),
	"a System V parameter of the host":  onSysctl("kernel.sem", `["kernel.sem"]: is not allowed in the host's ipc namespace`),
	"the same with a slash":             onSysctl("kernel/sem", `["kernel/sem"]: is not allowed in the host's ipc namespace`),
	"a queue parameter of the host":     onSysctl("fs.mqueue.msg_max", `["fs.mqueue.msg_max"]: is not allowed in the host's ipc namespace`),
	"a network parameter of the host":   onSysctl("net.core.somaxconn", `["net.core.somaxconn"]: is not allowed in the host's network namespace`),
	"the hostname as a parameter":       onSysctl("kernel.hostname", `["kernel.hostname"]: is not allowed, must be set by the field hostname`),
	"a parameter that goes up":          onSysctl("net/../vm/swappiness", `["net/../vm/swappiness"]`+escapes),
	"a parameter that goes up by dots":  onSysctl("net.//.vm.swappiness", `["net.//.vm.swappiness"]`+escapes),
	"a parameter that stays":            onSysctl("net/./ipv4", `["net/./ipv4"]`+escapes),
	"an absolute parameter":             onSysctl("/net/ipv4", `["/net/ipv4"]`+escapes),
	"a parameter with an empty step":    onSysctl("net..ipv4", `["net..ipv4"]`+escapes),
	"a parameter that is a directory":   onSysctl("net.", `["net."]`+escapes),
	"a value of a parameter with a NUL": onLinux(func(l *specs.Linux) { l.Sysctl["kernel.shmmax"] = "\x00" }, `linux.sysctl["kernel.shmmax"]: contains a NUL byte`),
	"the domain name of the host": onLinux(func(l *specs.Linux) {
		without(l, "uts")
	},
		"hostname: unable to set hostname without a private UTS namespace",
		"domainname: unable to set domainname without a private UTS namespace",
		`linux.sysctl["kernel.domainname"]: is not in a separate kernel namespace`),
	"a user parameter of the host": {
		change: func(s *specs.Spec) {
			without(s.Linux, "user")
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		},
		want: []string{`linux.sysctl["user.max_user_namespaces"]: is not allowed in the host's user namespace`},
	},
}

func TestMappingsUpToTheHighestID(t *testing.T) {
	spec := load(t, "full.json")
	all := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 4294967295}}
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = all, all
	spec.Process.User.UID = 4294967294
	if got := Spec(spec, &root); len(got) > 0 {
		t.Errorf("problems: %q", strings.Join(texts(got), "\n"))
	}
}
