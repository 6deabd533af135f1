package spec

import (
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/host"
)

// longestHostname is the kernel's limit, in bytes.
const longestHostname = 64

// Check looks at what a client wants to create, completes it with defaults, and says no in the words that clients
// know; warnings go to the client. Adjust has been there before. The machine is only asked whether sources of bind
// mounts exist.
func Check(c *api.Config, hc *api.HostConfig, d Defaults, f host.Facts) (warnings []string, err error) {
	if c == nil {
		return nil, invalid("config cannot be empty in order to create a container")
	}
	if hc.RestartPolicy.Name == "" {
		hc.RestartPolicy.Name = api.RestartPolicyDisabled
	}
	if err := checkConfig(c); err != nil {
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	}
	warnings, err = checkHost(hc, d, f, false)
	if err != nil {
		return warnings, fault.As(errdefs.ErrInvalidArgument, err)
	}
	complete(hc, d, f)
	if (hc.NetworkMode.IsDefault() || hc.NetworkMode.IsBridge()) && len(hc.Links) > 0 {
		warnings = append(warnings, "Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead.")
	}
	return warnings, nil
}

func invalid(format string, args ...any) error {
	return fault.Errorf(errdefs.ErrInvalidArgument, format, args...)
}

// checkConfig looks at the part that could be an image's.
func checkConfig(c *api.Config) error {
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return invalid("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal != "" {
		if _, err := signal.ParseSignal(c.StopSignal); err != nil {
			return err
		}
	}
	for _, e := range c.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			return invalid("invalid environment variable: %s", e)
		}
	}
	if err := checkHealth(c.Healthcheck); err != nil {
		return err
	}
	if len(c.Hostname) > longestHostname {
		return invalid("hostname %q is too long (maximum %d bytes)", c.Hostname, longestHostname)
	}
	return nil
}

func checkHealth(h *api.HealthConfig) error {
	if h == nil {
		return nil
	}
	if h.Retries < 0 {
		return invalid("Retries in Healthcheck cannot be negative")
	}
	for _, t := range []struct {
		name string
		d    int64
	}{
		{"Interval", int64(h.Interval)},
		{"Timeout", int64(h.Timeout)},
		{"StartPeriod", int64(h.StartPeriod)},
		{"StartInterval", int64(h.StartInterval)},
	} {
		if t.d != 0 && t.d < int64(api.MinimumDuration) {
			return invalid("%s in Healthcheck cannot be less than %s", t.name, api.MinimumDuration)
		}
	}
	return nil
}

// checkHost looks at the part that belongs to this machine.
func checkHost(hc *api.HostConfig, d Defaults, f host.Facts, update bool) (warnings []string, err error) {
	if err := checkPortable(hc, f); err != nil {
		return nil, err
	}
	warnings, err = checkResources(&hc.Resources, f, update)
	if err != nil {
		return warnings, err
	}
	if err := checkModes(hc); err != nil {
		return warnings, err
	}
	// Forwarding does not matter to a container with the host's network, or none.
	if !f.IPForward && !hc.NetworkMode.IsHost() && !hc.NetworkMode.IsNone() {
		warnings = append(warnings, "IPv4 forwarding is disabled. Networking will not work.")
	}
	if hc.NetworkMode.IsHost() && len(hc.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	if p := hc.CgroupParent; p != "" && f.SystemdCgroup && (len(p) <= len(".slice") || !strings.HasSuffix(p, ".slice")) {
		return warnings, invalid(`cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`)
	}
	if err := checkRuntime(hc, d); err != nil {
		return warnings, err
	}
	for _, dest := range sortedKeys(hc.Tmpfs) {
		if err := checkDestination(dest); err != nil {
			return warnings, err
		}
	}
	if !hc.CgroupnsMode.Valid() {
		return warnings, invalid("invalid cgroup namespace mode: %v", hc.CgroupnsMode)
	}
	if hc.CgroupnsMode.IsPrivate() && !f.CgroupNamespace {
		warnings = append(warnings, "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.")
	}
	return warnings, nil
}

// checkPortable looks at what is the same on every machine, but for which capabilities it has.
func checkPortable(hc *api.HostConfig, f host.Facts) error {
	if hc.AutoRemove && !hc.RestartPolicy.IsNone() {
		return invalid("can't create 'AutoRemove' container with restart policy")
	}
	if err := checkMounts(hc.Mounts); err != nil {
		return err
	}
	for _, h := range hc.ExtraHosts {
		if err := checkExtraHost(h); err != nil {
			return err
		}
	}
	if err := checkPorts(hc.PortBindings); err != nil {
		return err
	}
	if err := api.ValidateRestartPolicy(hc.RestartPolicy); err != nil {
		return err
	}
	if _, err := normalCapabilities(hc.CapAdd, f.Capabilities); err != nil {
		return invalid("invalid CapAdd: %w", err)
	}
	if _, err := normalCapabilities(hc.CapDrop, f.Capabilities); err != nil {
		return invalid("invalid CapDrop: %w", err)
	}
	if !hc.Isolation.IsValid() {
		return invalid("invalid isolation '%s' on linux", hc.Isolation)
	}
	if _, empty := hc.Annotations[""]; empty {
		return invalid("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

func checkModes(hc *api.HostConfig) error {
	switch {
	case !hc.IpcMode.Valid():
		return invalid("invalid IPC mode: %v", hc.IpcMode)
	case !hc.PidMode.Valid():
		return invalid("invalid PID mode: %v", hc.PidMode)
	case hc.ShmSize < 0:
		return invalid("SHM size can not be less than 0")
	case !hc.UTSMode.Valid():
		return invalid("invalid UTS mode: %v", hc.UTSMode)
	case hc.OomScoreAdj < -1000 || hc.OomScoreAdj > 1000:
		return invalid("Invalid value %d, range for oom score adj is [-1000, 1000]", hc.OomScoreAdj)
	}
	return nil
}

func checkExtraHost(h string) error {
	name, ip, ok := strings.Cut(h, ":")
	if !ok || name == "" {
		return invalid("bad format for add-host: %q", h)
	}
	if ip == "host-gateway" {
		return nil
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return invalid("invalid IP address in add-host: %q", ip)
	}
	return nil
}

func checkPorts(ports network.PortMap) error {
	for _, port := range slices.SortedFunc(maps.Keys(ports), func(a, b network.Port) int { return strings.Compare(a.String(), b.String()) }) {
		if !port.IsValid() || port.Num() == 0 {
			return invalid("invalid port specification: %q", port.String())
		}
		for _, b := range ports[port] {
			if b.HostPort == "" {
				continue
			}
			if _, err := network.ParsePortRange(b.HostPort); err != nil {
				return invalid("invalid port specification: %q", b.HostPort)
			}
		}
	}
	return nil
}

// stockRuntime is the one that is taken when none is named.
const stockRuntime = "runc"

// StockRuntimes are names of runtimes that are there without being configured.
var StockRuntimes = []string{stockRuntime, "io.containerd.runc.v2"}

// checkRuntime knows configured names and those of containerd's form prefix.name.version. Paths would let clients run
// any program as root.
func checkRuntime(hc *api.HostConfig, d Defaults) error {
	if hc.Runtime == "" {
		if hc.Runtime = d.Runtime; hc.Runtime == "" {
			hc.Runtime = stockRuntime
		}
	}
	name := hc.Runtime
	if slices.Contains(StockRuntimes, name) || slices.Contains(d.Runtimes, name) {
		return nil
	}
	if prefix, _, dotted := strings.Cut(name, "."); !dotted || prefix == "" || strings.Contains(name, "/") {
		return invalid("unknown or invalid runtime name: %s", name)
	}
	return nil
}
