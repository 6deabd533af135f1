package spec_test

import (
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-containers/gantry/engine/container"
)

// request is what docker run sends for a flag, beside an image and a command.
type request struct {
	flags  string
	change func(*api.Config, *api.HostConfig)
	// mounts are what package mounts makes of it.
	mounts []container.Mount
	// oracle says that the request is also made to a real dockerd: it works on this machine.
	oracle bool
}

func hostMount(m mount.Mount, rw bool, p mount.Propagation) []container.Mount {
	return []container.Mount{{Type: m.Type, Source: m.Source, Destination: m.Target, RW: rw, Propagation: p, Spec: m}}
}

// aBind is a bind of /usr by --mount.
func aBind(readOnly bool, o *mount.BindOptions) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: "/usr", Target: "/x", ReadOnly: readOnly, BindOptions: o}
}

func withMount(flags string, m mount.Mount) request {
	p := mount.PropagationRPrivate
	if m.BindOptions != nil && m.BindOptions.Propagation != "" {
		p = m.BindOptions.Propagation
	}
	return request{
		flags: flags, oracle: true, mounts: hostMount(m, !m.ReadOnly, p),
		change: func(_ *api.Config, h *api.HostConfig) { h.Mounts = []mount.Mount{m} },
	}
}

func withBind(flags string, m mount.Mount) request {
	parts := strings.Fields(flags)
	return request{
		flags: flags, oracle: true, mounts: hostMount(m, !m.ReadOnly, mount.PropagationRPrivate),
		change: func(_ *api.Config, h *api.HostConfig) { h.Binds = []string{parts[1]} },
	}
}

func config(flags string, change func(*api.Config)) request {
	return request{flags: flags, oracle: true, change: func(c *api.Config, _ *api.HostConfig) { change(c) }}
}

func hostConfig(flags string, change func(*api.HostConfig)) request {
	return request{flags: flags, oracle: true, change: func(_ *api.Config, h *api.HostConfig) { change(h) }}
}

// notHere is a request that this machine's dockerd or kernel cannot run.
func notHere(r request) request {
	r.oracle = false
	return r
}

func aDevice(perms string) func(*api.HostConfig) {
	return func(h *api.HostConfig) {
		h.Devices = []api.DeviceMapping{{PathOnHost: "/dev/zero", PathInContainer: "/dev/mine", CgroupPermissions: perms}}
	}
}

func throttled() []*blkiodev.ThrottleDevice {
	return []*blkiodev.ThrottleDevice{{Path: "/dev/vda", Rate: 1 << 20}}
}

const allowAll = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`

// requests has every flag of docker run that shows in a spec. The first is the plain one.
var requests = []request{
	{flags: "", oracle: true, change: func(*api.Config, *api.HostConfig) {}},
	hostConfig("--annotation a=b", func(h *api.HostConfig) { h.Annotations = map[string]string{"a": "b"} }),
	notHere(hostConfig("--blkio-weight 500", func(h *api.HostConfig) { h.BlkioWeight = 500 })),
	notHere(hostConfig("--blkio-weight-device /dev/vda:300", func(h *api.HostConfig) {
		h.BlkioWeightDevice = []*blkiodev.WeightDevice{{Path: "/dev/vda", Weight: 300}}
	})),
	hostConfig("--cap-add NET_ADMIN", func(h *api.HostConfig) { h.CapAdd = []string{"NET_ADMIN"} }),
	hostConfig("--cap-add ALL --cap-drop mknod", func(h *api.HostConfig) { h.CapAdd, h.CapDrop = []string{"ALL"}, []string{"mknod"} }),
	hostConfig("--cap-drop ALL", func(h *api.HostConfig) { h.CapDrop = []string{"ALL"} }),
	hostConfig("--cap-drop ALL --cap-add CAP_CHOWN", func(h *api.HostConfig) { h.CapDrop, h.CapAdd = []string{"ALL"}, []string{"CAP_CHOWN"} }),
	hostConfig("--cap-drop NET_RAW", func(h *api.HostConfig) { h.CapDrop = []string{"NET_RAW"} }),
	notHere(hostConfig("--cgroup-parent /p", func(h *api.HostConfig) { h.CgroupParent = "/p" })), // would be left behind
	hostConfig("--cgroupns host", func(h *api.HostConfig) { h.CgroupnsMode = "host" }),
	hostConfig("--cgroupns private", func(h *api.HostConfig) { h.CgroupnsMode = "private" }),
	hostConfig("--cpu-period 50000 --cpu-quota 25000", func(h *api.HostConfig) { h.CPUPeriod, h.CPUQuota = 50000, 25000 }),
	notHere(hostConfig("--cpu-rt-period 1000000 --cpu-rt-runtime 950000", func(h *api.HostConfig) {
		h.CPURealtimePeriod, h.CPURealtimeRuntime = 1000000, 950000
	})),
	hostConfig("--cpu-shares 512", func(h *api.HostConfig) { h.CPUShares = 512 }),
	hostConfig("--cpus 0.5", func(h *api.HostConfig) { h.NanoCPUs = 5e8 }),
	hostConfig("--cpuset-cpus 0-1 --cpuset-mems 0", func(h *api.HostConfig) { h.CpusetCpus, h.CpusetMems = "0-1", "0" }),
	hostConfig("--device /dev/zero:/dev/mine:r", aDevice("r")),
	hostConfig("--device /dev/mapper:/dev/folder", func(h *api.HostConfig) {
		h.Devices = []api.DeviceMapping{{PathOnHost: "/dev/pts", PathInContainer: "/dev/folder", CgroupPermissions: "rwm"}}
	}),
	hostConfig("--device-cgroup-rule 'c 42:* rm'", func(h *api.HostConfig) { h.DeviceCgroupRules = []string{"c 42:* rm"} }),
	notHere(hostConfig("--device-read-bps /dev/vda:1mb", func(h *api.HostConfig) { h.BlkioDeviceReadBps = throttled() })),
	notHere(hostConfig("--device-write-bps /dev/vda:1mb", func(h *api.HostConfig) { h.BlkioDeviceWriteBps = throttled() })),
	notHere(hostConfig("--device-read-iops /dev/vda:1048576", func(h *api.HostConfig) { h.BlkioDeviceReadIOps = throttled() })),
	notHere(hostConfig("--device-write-iops /dev/vda:1048576", func(h *api.HostConfig) { h.BlkioDeviceWriteIOps = throttled() })),
	config("--domainname example.org", func(c *api.Config) { c.Domainname = "example.org" }),
	config("--env A=b --env HOSTNAME --env PATH=/bin:/x", func(c *api.Config) { c.Env = []string{"A=b", "HOSTNAME", "PATH=/bin:/x"} }),
	hostConfig("--group-add 7 --group-add nogroup", func(h *api.HostConfig) { h.GroupAdd = []string{"7", "nogroup"} }),
	config("--hostname me", func(c *api.Config) { c.Hostname = "me" }),
	hostConfig("--init", func(h *api.HostConfig) { h.Init = new(true) }),
	hostConfig("--init=false", func(h *api.HostConfig) { h.Init = new(false) }),
	hostConfig("--init --pid host", func(h *api.HostConfig) { h.Init, h.PidMode = new(true), "host" }),
	hostConfig("--ipc host", func(h *api.HostConfig) { h.IpcMode = "host" }),
	hostConfig("--ipc none", func(h *api.HostConfig) { h.IpcMode = "none" }),
	hostConfig("--ipc private", func(h *api.HostConfig) { h.IpcMode = "private" }),
	hostConfig("--ipc shareable", func(h *api.HostConfig) { h.IpcMode = "shareable" }),
	notHere(hostConfig("--ipc container:other", func(h *api.HostConfig) { h.IpcMode = "container:other" })),
	hostConfig("--memory 64m", func(h *api.HostConfig) { h.Memory = 64 << 20 }),
	hostConfig("--memory 64m --memory-swap -1 --memory-reservation 32m", func(h *api.HostConfig) {
		h.Memory, h.MemorySwap, h.MemoryReservation = 64<<20, -1, 32<<20
	}),
	notHere(hostConfig("--memory 64m --memory-swappiness 10 --oom-kill-disable", func(h *api.HostConfig) {
		h.Memory, h.MemorySwappiness, h.OomKillDisable = 64<<20, new(int64(10)), new(true)
	})),
	withMount("--mount type=bind,src=/usr,dst=/x", aBind(false, nil)),
	withMount("--mount type=bind,src=/usr,dst=/x,readonly", aBind(true, nil)),
	withMount("--mount type=bind,src=/usr,dst=/x,readonly,bind-recursive=writable", aBind(true, &mount.BindOptions{ReadOnlyNonRecursive: true})),
	withMount("--mount type=bind,src=/usr,dst=/x,readonly,bind-recursive=readonly", aBind(true, &mount.BindOptions{ReadOnlyForceRecursive: true, Propagation: "rprivate"})),
	withMount("--mount type=bind,src=/usr,dst=/x,bind-recursive=disabled", aBind(false, &mount.BindOptions{NonRecursive: true})),
	withMount("--mount type=bind,src=/usr,dst=/x,bind-propagation=private", aBind(false, &mount.BindOptions{Propagation: "private"})),
	notHere(withMount("--mount type=bind,src=/usr,dst=/x,bind-propagation=rshared", aBind(false, &mount.BindOptions{Propagation: "rshared"}))),
	notHere(withMount("--mount type=bind,src=/usr,dst=/x,bind-propagation=rslave", aBind(false, &mount.BindOptions{Propagation: "rslave"}))),
	withMount("--mount type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700", mount.Mount{
		Type: mount.TypeTmpfs, Target: "/x", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700},
	}),
	withMount("--mount type=tmpfs,dst=/x,readonly", mount.Mount{Type: mount.TypeTmpfs, Target: "/x", ReadOnly: true}),
	withMount("--mount type=tmpfs,dst=/dev", mount.Mount{Type: mount.TypeTmpfs, Target: "/dev", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"exec"}}}}),
	withBind("--volume /etc/hostname:/etc/hosts", mount.Mount{Type: mount.TypeBind, Source: "/etc/hostname", Target: "/etc/hosts"}),
	hostConfig("--network host", func(h *api.HostConfig) { h.NetworkMode = "host" }),
	hostConfig("--network none", func(h *api.HostConfig) { h.NetworkMode = "none" }),
	notHere(hostConfig("--network container:other", func(h *api.HostConfig) { h.NetworkMode = "container:other" })),
	notHere(hostConfig("--oom-score-adj -500", func(h *api.HostConfig) { h.OomScoreAdj = -500 })),
	hostConfig("--oom-score-adj 500", func(h *api.HostConfig) { h.OomScoreAdj = 500 }),
	hostConfig("--pid host", func(h *api.HostConfig) { h.PidMode = "host" }),
	notHere(hostConfig("--pid container:other", func(h *api.HostConfig) { h.PidMode = "container:other" })),
	hostConfig("--pids-limit 100", func(h *api.HostConfig) { h.PidsLimit = new(int64(100)) }),
	hostConfig("--pids-limit -1", func(h *api.HostConfig) { h.PidsLimit = new(int64(-1)) }),
	hostConfig("--privileged", func(h *api.HostConfig) { h.Privileged = true }),
	hostConfig("--privileged --device /dev/zero:/dev/mine", func(h *api.HostConfig) { h.Privileged = true; aDevice("rwm")(h) }),
	hostConfig("--privileged --security-opt seccomp=profile.json", func(h *api.HostConfig) {
		h.Privileged, h.SecurityOpt = true, []string{"seccomp=" + allowAll}
	}),
	hostConfig("--read-only", func(h *api.HostConfig) { h.ReadonlyRootfs = true }),
	{flags: "--read-only --tmpfs /run", oracle: true, change: func(_ *api.Config, h *api.HostConfig) {
		h.ReadonlyRootfs, h.Tmpfs = true, map[string]string{"/run": ""}
	}},
	hostConfig("--security-opt no-new-privileges", func(h *api.HostConfig) { h.SecurityOpt = []string{"no-new-privileges"} }),
	hostConfig("--security-opt seccomp=unconfined", func(h *api.HostConfig) { h.SecurityOpt = []string{"seccomp=unconfined"} }),
	hostConfig("--security-opt seccomp=profile.json", func(h *api.HostConfig) { h.SecurityOpt = []string{"seccomp=" + allowAll} }),
	hostConfig("--security-opt systempaths=unconfined", func(h *api.HostConfig) { h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{} }),
	hostConfig("--security-opt writable-cgroups", func(h *api.HostConfig) { h.SecurityOpt = []string{"writable-cgroups"} }),
	notHere(hostConfig("--security-opt apparmor=mine", func(h *api.HostConfig) { h.SecurityOpt = []string{"apparmor=mine"} })),
	hostConfig("--security-opt label=disable", func(h *api.HostConfig) { h.SecurityOpt = []string{"label=disable"} }),
	hostConfig("--shm-size 1m", func(h *api.HostConfig) { h.ShmSize = 1 << 20 }),
	hostConfig("--sysctl net.ipv4.ip_forward=1", func(h *api.HostConfig) { h.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} }),
	hostConfig("--sysctl net.ipv4.ip_unprivileged_port_start=80", func(h *api.HostConfig) {
		h.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	}),
	hostConfig("--tmpfs /x:size=1m,exec", func(h *api.HostConfig) { h.Tmpfs = map[string]string{"/x": "size=1m,exec"} }),
	hostConfig("--tmpfs /dev/shm", func(h *api.HostConfig) { h.Tmpfs = map[string]string{"/dev/shm": ""} }),
	{flags: "--tty", oracle: true, change: func(c *api.Config, h *api.HostConfig) {
		c.Tty, h.ConsoleSize = true, [2]uint{24, 80}
	}},
	hostConfig("--ulimit nofile=100:200 --ulimit core=0", func(h *api.HostConfig) {
		h.Ulimits = []*api.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core"}}
	}),
	hostConfig("--umask 027", func(h *api.HostConfig) { h.Umask = new(uint32(0o27)) }),
	config("--user user", func(c *api.Config) { c.User = "user" }),
	config("--user 5:nogroup", func(c *api.Config) { c.User = "5:nogroup" }),
	hostConfig("--userns host", func(h *api.HostConfig) { h.UsernsMode = "host" }),
	hostConfig("--uts host", func(h *api.HostConfig) { h.UTSMode = "host" }),
	withBind("--volume /usr:/x", mount.Mount{Type: mount.TypeBind, Source: "/usr", Target: "/x"}),
	withBind("--volume /usr:/x:ro", mount.Mount{Type: mount.TypeBind, Source: "/usr", Target: "/x", ReadOnly: true}),
	config("--workdir /home", func(c *api.Config) { c.WorkingDir = "/home" }),
	// What does not show in a spec must not.
	hostConfig("--dns 1.1.1.1 --add-host a:1.2.3.4 --restart always", func(h *api.HostConfig) {
		h.DNS, h.ExtraHosts = []netip.Addr{netip.MustParseAddr("1.1.1.1")}, []string{"a:1.2.3.4"}
		h.RestartPolicy.Name = api.RestartPolicyAlways
	}),
	config("--label a=b --stop-signal INT --health-cmd true", func(c *api.Config) {
		c.Labels, c.StopSignal, c.Healthcheck = map[string]string{"a": "b"}, "INT", &api.HealthConfig{Test: []string{"CMD-SHELL", "true"}}
	}),
}
