package system

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/host"
)

// Info is about the engine and its machine, complete as the newest API tells it. Who asks while it is collected for
// somebody else gets the same answer.
func (s *Service) Info(ctx context.Context) (*system.Info, error) {
	v, err, _ := s.once.Do("info", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*patience)
		defer cancel()
		return s.collect(ctx)
	})
	if err != nil {
		return nil, err
	}
	info := *v.(*system.Info)
	info.Runtimes = maps.Clone(info.Runtimes) // Callers take away what their clients do not know.
	return &info, nil
}

func (s *Service) collect(ctx context.Context) (*system.Info, error) {
	c := s.o.Config()
	hostname, _ := os.Hostname()
	name, version := operatingSystem("/")
	info := &system.Info{
		ID:                 s.id,
		Name:               hostname,
		ServerVersion:      s.o.Version,
		SystemTime:         time.Now().Format(time.RFC3339Nano),
		OperatingSystem:    name,
		OSVersion:          version,
		OSType:             runtime.GOOS,
		Architecture:       machine(),
		KernelVersion:      kernel(),
		NCPU:               runtime.NumCPU(),
		MemTotal:           memory(),
		DockerRootDir:      c.Root,
		Labels:             c.Labels,
		LiveRestoreEnabled: true,
		ExperimentalBuild:  c.Experimental,
		Debug:              c.Log.Debug,
		NFd:                openFiles(),
		NGoroutines:        runtime.NumGoroutine(),
		NEventsListener:    s.o.Listeners(),
		LoggingDriver:      c.Containers.LogDriver,
		Driver:             cmp.Or(c.Snapshotter, "overlayfs"),
		DriverStatus:       [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig:     registryConfig(&c.Registry),
		HTTPProxy:          masked(cmp.Or(c.Proxies.HTTP, os.Getenv("HTTP_PROXY"), os.Getenv("http_proxy"))),
		HTTPSProxy:         masked(cmp.Or(c.Proxies.HTTPS, os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))),
		NoProxy:            cmp.Or(c.Proxies.No, os.Getenv("NO_PROXY"), os.Getenv("no_proxy")),
		Plugins: system.PluginsInfo{
			Volume:  []string{"local"},
			Network: []string{"bridge", "host", "ipvlan", "macvlan", "null"},
			Log:     []string{"json-file", "local"},
			// In the order in which they are asked.
			Authorization: c.AuthZ,
		},
		Swarm:             swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		CDISpecDirs:       host.CDI{Dirs: c.Containers.CDIDirs}.Folders(),
		DiscoveredDevices: discovered(host.CDI{Dirs: c.Containers.CDIDirs}),
		Containerd: &system.ContainerdInfo{
			Address:    s.o.Address,
			Namespaces: system.ContainerdNamespaces{Containers: c.Namespace, Plugins: "plugins.moby"},
		},
	}
	if s.o.Containers != nil {
		info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = s.o.Containers.Counts()
		info.Containers = info.ContainersRunning + info.ContainersPaused + info.ContainersStopped
	}
	if s.o.Images != nil {
		info.Images = s.o.Images.Count(ctx)
	}
	for _, p := range c.Network.Pools {
		info.DefaultAddressPools = append(info.DefaultAddressPools, system.NetworkAddressPool{Base: p.Base, Size: p.Size})
	}
	s.runtimes(ctx, info, c)
	s.limits(info, c)
	s.security(info, c)
	return info, ctx.Err()
}

// discovered are the devices that containers can ask for by name.
func discovered(c host.CDI) []system.DeviceInfo {
	devices := []system.DeviceInfo{}
	for _, name := range c.Devices() {
		devices = append(devices, system.DeviceInfo{Source: "cdi", ID: name})
	}
	return devices
}

func (s *Service) runtimes(ctx context.Context, info *system.Info, c *config.Config) {
	stock := system.RuntimeWithStatus{Runtime: system.Runtime{Path: "runc"}, Status: s.status(ctx, runcShim, "")}
	info.Runtimes = map[string]system.RuntimeWithStatus{runcShim: stock, "runc": stock}
	for name, r := range c.Containers.Runtimes {
		shim, binary := cmp.Or(r.Type, runcShim), r.Path
		info.Runtimes[name] = system.RuntimeWithStatus{
			Runtime: system.Runtime{Path: r.Path, Args: slices.Clone(r.Args)}, Status: s.status(ctx, shim, binary),
		}
	}
	info.DefaultRuntime = c.Containers.DefaultRuntime
	info.InitBinary = cmp.Or(c.Containers.InitPath, "docker-init")
	info.RuncCommit.ID, info.ContainerdCommit.ID, info.InitCommit.ID = "N/A", "N/A", "N/A"
	if p := s.ask(ctx, s.runtimePath(c)); p.found {
		info.RuncCommit.ID = p.commit
	}
	if p := s.ask(ctx, info.InitBinary); p.found {
		info.InitCommit.ID = p.commit
	}
	if v, err := s.managerVersion(ctx); err == nil {
		info.ContainerdCommit.ID = v.Revision
	}
}

// runtimePath is the program of the default runtime.
func (s *Service) runtimePath(c *config.Config) string {
	return cmp.Or(c.Containers.Runtimes[c.Containers.DefaultRuntime].Path, "runc")
}

func (s *Service) limits(info *system.Info, c *config.Config) {
	f := s.o.Facts
	info.CgroupVersion = "1"
	if f.CgroupV2 {
		info.CgroupVersion = "2"
	}
	info.CgroupDriver = c.Containers.CgroupDriver
	if info.CgroupDriver == "" {
		info.CgroupDriver = "cgroupfs"
		if f.SystemdCgroup {
			info.CgroupDriver = "systemd"
		}
	}
	info.IPv4Forwarding = forwarding()
	for _, l := range limits {
		if l.set != nil {
			l.set(info, f.Controllers[l.controller])
		}
		warn := !f.Controllers[l.controller] && (!f.CgroupV2 || l.v2 != "")
		if text := l.warning(f.CgroupV2); warn && text != "" {
			info.Warnings = append(info.Warnings, "WARNING: "+text)
		}
	}
	if !info.IPv4Forwarding {
		info.Warnings = append(info.Warnings, "WARNING: IPv4 forwarding is disabled")
	}
}

// limit is one thing that a machine can or cannot limit: as package host calls it, and as info does. Without a text
// there is no warning for that version of cgroups.
type limit struct {
	controller, v1, v2 string
	set                func(*system.Info, bool)
}

func (l limit) warning(unified bool) string {
	if unified {
		return l.v2
	}
	return l.v1
}

var limits = []limit{
	{host.Memory, "No memory limit support", "No memory limit support", func(i *system.Info, ok bool) { i.MemoryLimit = ok }},
	{host.Swap, "No swap limit support", "No swap limit support", func(i *system.Info, ok bool) { i.SwapLimit = ok }},
	{host.OOMKillDisable, "No oom kill disable support", "", func(i *system.Info, ok bool) { i.OomKillDisable = ok }},
	{host.CPUQuota, "No cpu cfs quota support", "No cpu cfs quota support", func(i *system.Info, ok bool) { i.CPUCfsQuota = ok }},
	{host.CPUQuota, "No cpu cfs period support", "No cpu cfs period support", func(i *system.Info, ok bool) { i.CPUCfsPeriod = ok }},
	{host.CPUShares, "No cpu shares support", "No cpu shares support", func(i *system.Info, ok bool) { i.CPUShares = ok }},
	{host.Cpuset, "No cpuset support", "No cpuset support", func(i *system.Info, ok bool) { i.CPUSet = ok }},
	{host.Pids, "", "", func(i *system.Info, ok bool) { i.PidsLimit = ok }},
	{host.BlkioWeight, "", "No io.weight support", nil},
	{host.BlkioWeightDevice, "", "No io.weight (per device) support", nil},
	{host.BlkioReadBps, "No blkio throttle.read_bps_device support", "No io.max (rbps) support", nil},
	{host.BlkioWriteBps, "No blkio throttle.write_bps_device support", "No io.max (wbps) support", nil},
	{host.BlkioReadIOps, "No blkio throttle.read_iops_device support", "No io.max (riops) support", nil},
	{host.BlkioWriteIOps, "No blkio throttle.write_iops_device support", "No io.max (wiops) support", nil},
}

func (s *Service) security(info *system.Info, c *config.Config) {
	f := s.o.Facts
	if f.AppArmor {
		info.SecurityOptions = append(info.SecurityOptions, "name=apparmor,profile=default")
	}
	if f.Seccomp {
		if c.Containers.Seccomp != "builtin" {
			info.Warnings = append(info.Warnings, "WARNING: daemon is not using the default seccomp profile")
		}
		info.SecurityOptions = append(info.SecurityOptions, "name=seccomp,profile="+c.Containers.Seccomp)
	}
	if f.SELinux {
		info.SecurityOptions = append(info.SecurityOptions, "name=selinux")
	}
	if f.CgroupNamespace && cmp.Or(c.Containers.CgroupnsMode, defaultCgroupns(f.CgroupV2)) == "private" {
		info.SecurityOptions = append(info.SecurityOptions, "name=cgroupns")
	}
	if c.UsernsRemap != "" || c.UsernsEach {
		info.SecurityOptions = append(info.SecurityOptions, "name=userns")
	}
	if c.Containers.NoNewPrivileges {
		info.SecurityOptions = append(info.SecurityOptions, "name=no-new-privileges")
	}
}

func defaultCgroupns(unified bool) string {
	if unified {
		return "private"
	}
	return "host"
}

func registryConfig(c *config.Registry) *registry.ServiceConfig {
	mirrors := []string{}
	for _, m := range c.Mirrors {
		if m = strings.TrimSuffix(m, "/") + "/"; !slices.Contains(mirrors, m) {
			mirrors = append(mirrors, m)
		}
	}
	r := &registry.ServiceConfig{
		Mirrors: mirrors,
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true},
		},
	}
	for _, host := range append(slices.Clone(c.Insecure), "::1/128", "127.0.0.0/8") {
		_, bare, ok := strings.Cut(host, "://")
		if !ok {
			bare = host
		}
		if network, err := netip.ParsePrefix(bare); err == nil {
			r.InsecureRegistryCIDRs = append(r.InsecureRegistryCIDRs, network.Masked())
			continue
		}
		r.IndexConfigs[bare] = &registry.IndexInfo{Name: bare, Mirrors: []string{}}
	}
	return r
}

func kernel() string { return utsname(func(u *unix.Utsname) []byte { return u.Release[:] }) }

// machine is the processor as uname tells it: x86_64.
func machine() string { return utsname(func(u *unix.Utsname) []byte { return u.Machine[:] }) }

func utsname(field func(*unix.Utsname) []byte) string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(field(&u))
}
