package spec_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/blkiodev"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
)

// refusals are what moby answers with status 400, in its words. They are also made to a real dockerd.
func refusals() map[string]func(*api.Config, *api.HostConfig) {
	h := func(change func(*api.HostConfig)) func(*api.Config, *api.HostConfig) {
		return func(_ *api.Config, h *api.HostConfig) { change(h) }
	}
	c := func(change func(*api.Config)) func(*api.Config, *api.HostConfig) {
		return func(c *api.Config, _ *api.HostConfig) { change(c) }
	}
	m := func(m mount.Mount) func(*api.Config, *api.HostConfig) {
		return h(func(h *api.HostConfig) { h.Mounts = []mount.Mount{m} })
	}
	return map[string]func(*api.Config, *api.HostConfig){
		"the working directory 'x' is invalid, it needs to be an absolute path": c(func(c *api.Config) { c.WorkingDir = "x" }),
		"invalid signal: NO":               c(func(c *api.Config) { c.StopSignal = "NO" }),
		"invalid environment variable: =x": c(func(c *api.Config) { c.Env = []string{"A=b", "=x"} }),
		"invalid environment variable: ":   c(func(c *api.Config) { c.Env = []string{""} }),
		"hostname \"" + strings.Repeat("h", 65) + "\" is too long (maximum 64 bytes)": c(func(c *api.Config) { c.Hostname = strings.Repeat("h", 65) }),
		"Interval in Healthcheck cannot be less than 1ms":                             c(func(c *api.Config) { c.Healthcheck = &api.HealthConfig{Interval: 1} }),
		"Timeout in Healthcheck cannot be less than 1ms":                              c(func(c *api.Config) { c.Healthcheck = &api.HealthConfig{Timeout: 1} }),
		"StartPeriod in Healthcheck cannot be less than 1ms":                          c(func(c *api.Config) { c.Healthcheck = &api.HealthConfig{StartPeriod: 1} }),
		"StartInterval in Healthcheck cannot be less than 1ms":                        c(func(c *api.Config) { c.Healthcheck = &api.HealthConfig{StartInterval: 1} }),
		"Retries in Healthcheck cannot be negative":                                   c(func(c *api.Config) { c.Healthcheck = &api.HealthConfig{Retries: -1} }),

		"can't create 'AutoRemove' container with restart policy":                                                  h(func(h *api.HostConfig) { h.AutoRemove, h.RestartPolicy.Name = true, "always" }),
		"invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'": h(func(h *api.HostConfig) { h.RestartPolicy.Name = "x" }),
		`bad format for add-host: "x"`:            h(func(h *api.HostConfig) { h.ExtraHosts = []string{"x"} }),
		`invalid IP address in add-host: "1.2.3"`: h(func(h *api.HostConfig) { h.ExtraHosts = []string{"x:1.2.3"} }),
		`invalid port specification: "x"`: h(func(h *api.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort("1/tcp"): {{HostPort: "x"}}}
		}),
		`invalid CapAdd: unknown capability: "CAP_X"`:                                                                    h(func(h *api.HostConfig) { h.CapAdd = []string{"x"} }),
		`invalid CapDrop: unknown capability: "CAP_X"`:                                                                   h(func(h *api.HostConfig) { h.CapDrop = []string{"CAP_X"} }),
		"invalid isolation 'hyperv' on linux":                                                                            h(func(h *api.HostConfig) { h.Isolation = "hyperv" }),
		"invalid Annotations: the empty string is not permitted as an annotation key":                                    h(func(h *api.HostConfig) { h.Annotations = map[string]string{"": "x"} }),
		`invalid CapAdd: capability not supported by your kernel or not available in the current environment: "CAP_BPF"`: h(func(h *api.HostConfig) { h.CapAdd = []string{"BPF"} }),

		"invalid IPC mode: x":             h(func(h *api.HostConfig) { h.IpcMode = "x" }),
		"invalid PID mode: x":             h(func(h *api.HostConfig) { h.PidMode = "x" }),
		"invalid UTS mode: x":             h(func(h *api.HostConfig) { h.UTSMode = "x" }),
		"SHM size can not be less than 0": h(func(h *api.HostConfig) { h.ShmSize = -1 }),
		"Invalid value 1001, range for oom score adj is [-1000, 1000]": h(func(h *api.HostConfig) { h.OomScoreAdj = 1001 }),
		"unknown or invalid runtime name: /bin/sh":                     h(func(h *api.HostConfig) { h.Runtime = "/bin/sh" }),
		"unknown or invalid runtime name: crun":                        h(func(h *api.HostConfig) { h.Runtime = "crun" }),
		"invalid cgroup namespace mode: x":                             h(func(h *api.HostConfig) { h.CgroupnsMode = "x" }),
		"invalid specification: destination can't be '/'":              h(func(h *api.HostConfig) { h.Tmpfs = map[string]string{"/": ""} }),
		"invalid mount path: 'x' mount path must be absolute":          h(func(h *api.HostConfig) { h.Tmpfs = map[string]string{"x": ""} }),

		"Minimum memory limit allowed is 6MB":                                                      h(func(h *api.HostConfig) { h.Memory = 1 }),
		"Minimum memoryswap limit should be larger than memory limit, see usage":                   h(func(h *api.HostConfig) { h.Memory, h.MemorySwap = 8<<20, 7<<20 }),
		"You should always set the Memory limit when using Memoryswap limit, see usage":            h(func(h *api.HostConfig) { h.MemorySwap = 7 << 20 }),
		"Invalid value: 101, valid memory swappiness range is 0-100":                               h(func(h *api.HostConfig) { h.MemorySwappiness = new(int64(101)) }),
		"Minimum memory reservation allowed is 6MB":                                                h(func(h *api.HostConfig) { h.MemoryReservation = 1 }),
		"Minimum memory limit can not be less than memory reservation limit, see usage":            h(func(h *api.HostConfig) { h.Memory, h.MemoryReservation = 8<<20, 9<<20 }),
		"Conflicting options: Nano CPUs and CPU Period cannot both be set":                         h(func(h *api.HostConfig) { h.NanoCPUs, h.CPUPeriod = 1e9, 1000 }),
		"Conflicting options: Nano CPUs and CPU Quota cannot both be set":                          h(func(h *api.HostConfig) { h.NanoCPUs, h.CPUQuota = 1e9, 1000 }),
		"range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available":                   h(func(h *api.HostConfig) { h.NanoCPUs = 5e9 }),
		"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)":     h(func(h *api.HostConfig) { h.CPUPeriod = 999 }),
		"CPU cfs quota can not be less than 1ms (i.e. 1000)":                                       h(func(h *api.HostConfig) { h.CPUQuota = 999 }),
		"Requested CPUs are not available - requested 0-4, available: 0-3":                         h(func(h *api.HostConfig) { h.CpusetCpus = "0-4" }),
		"Requested memory nodes are not available - requested 1, available: 0":                     h(func(h *api.HostConfig) { h.CpusetMems = "1" }),
		"Invalid value x for cpuset cpus: invalid format: x":                                       h(func(h *api.HostConfig) { h.CpusetCpus = "x" }),
		"Invalid value 1-9223372036854775807 for cpuset mems: value of out range, maximum is 8192": h(func(h *api.HostConfig) { h.CpusetMems = "1-9223372036854775807" }),
		"Range of blkio weight is from 10 to 1000":                                                 h(func(h *api.HostConfig) { h.BlkioWeight = 9 }),
		"Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps":     h(func(h *api.HostConfig) { h.IOMaximumIOps = 1 }),

		`invalid mount config for type "x": mount type unknown`:                                     m(mount.Mount{Type: "x", Target: "/x"}),
		`invalid mount config for type "bind": field Target must not be empty`:                      m(mount.Mount{Type: "bind"}),
		`invalid mount config for type "bind": field Source must not be empty`:                      m(mount.Mount{Type: "bind", Target: "/x"}),
		`invalid mount config for type "bind": invalid mount path: 'x' mount path must be absolute`: m(mount.Mount{Type: "bind", Source: "x", Target: "/x"}),
		`invalid mount config for type "bind": bind source path does not exist: /nowhere/at/all`:    m(mount.Mount{Type: "bind", Source: "/nowhere/at/all", Target: "/x"}),
		`invalid mount config for type "bind": field VolumeOptions must not be specified`:           m(mount.Mount{Type: "bind", VolumeOptions: &mount.VolumeOptions{}}),
		`invalid mount config for type "bind": invalid propagation mode: x`:                         m(mount.Mount{Type: "bind", Source: "/", Target: "/x", BindOptions: &mount.BindOptions{Propagation: "x"}}),
		`invalid mount config for type "volume": must not set Subpath when using anonymous volumes`: m(mount.Mount{Type: "volume", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "a"}}),
		`invalid mount config for type "volume": subpath must be a relative path within the volume`: m(mount.Mount{Type: "volume", Source: "v", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "../a"}}),
		`invalid mount config for type "tmpfs": field Source must not be specified`:                 m(mount.Mount{Type: "tmpfs", Source: "x", Target: "/x"}),
		`invalid mount config for type "tmpfs": invalid option: suid`:                               m(mount.Mount{Type: "tmpfs", Target: "/x", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"suid"}}}}),
		`invalid mount config for type "image": field Source must not be empty`:                     m(mount.Mount{Type: "image", Target: "/x"}),
	}
}

func TestCheckRefuses(t *testing.T) {
	for want, change := range refusals() {
		config, hc := &api.Config{}, &api.HostConfig{}
		change(config, hc)
		_, err := spec.Check(config, hc, spec.Defaults{}, aMachine())
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: is no invalid argument", want)
		}
	}
}

// TestCheckDiscards asks a machine that has nothing for everything.
func TestCheckDiscards(t *testing.T) {
	hc := &api.HostConfig{NetworkMode: "bridge", CgroupnsMode: "private", Resources: api.Resources{
		Memory: 8 << 20, MemorySwap: 9 << 20, MemorySwappiness: new(int64(5)), MemoryReservation: 7 << 20,
		OomKillDisable: new(true), PidsLimit: new(int64(5)), CPUShares: 5, CPUPeriod: 5, CPUQuota: 5, CPUPercent: 5,
		CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 5, BlkioWeightDevice: []*blkiodev.WeightDevice{{}},
		BlkioDeviceReadBps: throttled(), BlkioDeviceWriteBps: throttled(),
		BlkioDeviceReadIOps: throttled(), BlkioDeviceWriteIOps: throttled(),
	}}
	warnings, err := spec.Check(&api.Config{}, hc, spec.Defaults{}, host.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
		"Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
		"Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
		"Your kernel does not support OomKillDisable. OomKillDisable discarded.",
		"Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
		"Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
		"Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
		"linux does not support CPU percent. Percent discarded.",
		"Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
		"Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
		"Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
		"Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
		"Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
		"Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
		"Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
		"IPv4 forwarding is disabled. Networking will not work.",
		"Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.",
	}
	if d := cmp.Diff(want, warnings); d != "" {
		t.Errorf("warnings: -want +got\n%s", d)
	}
	left := api.Resources{
		MemorySwap: -1, OomKillDisable: new(false), BlkioWeightDevice: []*blkiodev.WeightDevice{},
		BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{}, BlkioDeviceWriteBps: []*blkiodev.ThrottleDevice{},
		BlkioDeviceReadIOps: []*blkiodev.ThrottleDevice{}, BlkioDeviceWriteIOps: []*blkiodev.ThrottleDevice{},
	}
	if d := cmp.Diff(left, hc.Resources); d != "" {
		t.Errorf("what is left of the limits: -want +got\n%s", d)
	}
}

func TestCheckWithoutSwap(t *testing.T) {
	f := aMachine()
	f.Controllers[host.Swap] = false
	hc := &api.HostConfig{Resources: api.Resources{Memory: 8 << 20}}
	warnings, err := spec.Check(&api.Config{}, hc, spec.Defaults{}, f)
	want := []string{"Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."}
	if err != nil || !slices.Equal(warnings, want) || hc.MemorySwap != -1 {
		t.Errorf("got %q, %v, swap %d", warnings, err, hc.MemorySwap)
	}
}

func TestCheckCompletes(t *testing.T) {
	v2 := aMachine()
	v2.CgroupV2 = true
	for _, tt := range []struct {
		name  string
		facts host.Facts
		in    api.HostConfig
		d     spec.Defaults
		want  api.HostConfig
	}{
		{
			"nothing said", aMachine(),
			api.HostConfig{},
			spec.Defaults{},
			api.HostConfig{ShmSize: 64 << 20, IpcMode: "private", CgroupnsMode: "host", Runtime: "runc", RestartPolicy: api.RestartPolicy{Name: "no"}},
		},
		{
			"cgroup v2", v2,
			api.HostConfig{Privileged: true},
			spec.Defaults{},
			api.HostConfig{
				ShmSize: 64 << 20, IpcMode: "private", CgroupnsMode: "private", Runtime: "runc", Privileged: true,
				RestartPolicy: api.RestartPolicy{Name: "no"}, SecurityOpt: []string{"label=disable"},
			},
		},
		{
			"defaults of the engine", aMachine(),
			api.HostConfig{Resources: api.Resources{Memory: 8 << 20}, PidMode: "host", SecurityOpt: []string{"label=level:s0"}},
			spec.Defaults{ShmSize: 1, IpcMode: "shareable", CgroupnsMode: "private", Runtime: "a", Runtimes: []string{"a"}},
			api.HostConfig{
				ShmSize: 1, IpcMode: "shareable", CgroupnsMode: "private", Runtime: "a", PidMode: "host", SecurityOpt: []string{"label=level:s0"},
				RestartPolicy: api.RestartPolicy{Name: "no"}, Resources: api.Resources{Memory: 8 << 20, MemorySwap: 16 << 20},
			},
		},
	} {
		tt.want.OomKillDisable = new(false)
		if _, err := spec.Check(&api.Config{}, &tt.in, tt.d, tt.facts); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		// Inspect tells what is hidden and protected.
		if hidden := slices.Contains(tt.in.MaskedPaths, "/proc/kcore") && slices.Contains(tt.in.ReadonlyPaths, "/proc/sys"); hidden == tt.in.Privileged {
			t.Errorf("%s: hidden %v, protected %v", tt.name, tt.in.MaskedPaths, tt.in.ReadonlyPaths)
		}
		tt.in.MaskedPaths, tt.in.ReadonlyPaths = nil, nil
		if d := cmp.Diff(tt.want, tt.in); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}
