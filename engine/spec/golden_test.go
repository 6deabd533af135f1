package spec_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
)

var update = flag.Bool("update", false, "write the golden file anew")

// aMachine is one that has all that can be asked for.
func aMachine() host.Facts {
	all := map[string]bool{}
	for _, c := range []string{
		host.Memory, host.Swap, host.MemoryReservation, host.MemorySwappiness, host.OOMKillDisable,
		host.CPUShares, host.CPUQuota, host.CPURealtime, host.Cpuset, host.Pids, host.BlkioWeight, host.BlkioWeightDevice,
		host.BlkioReadBps, host.BlkioWriteBps, host.BlkioReadIOps, host.BlkioWriteIOps, host.DeviceRestrictions,
	} {
		all[c] = true
	}
	return host.Facts{
		Capabilities: []string{
			"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
			"CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_MKNOD",
			"CAP_AUDIT_WRITE", "CAP_SETFCAP",
		},
		Controllers: all, CPUSet: "0-3", MemSet: "0", CPUs: 4, Memory: 8 << 30,
		Seccomp: true, AppArmor: true, CgroupNamespace: true, TimeNamespace: true, RecursiveReadOnly: true,
		PingGroupRange: true, UnprivilegedPorts: true, IPForward: true,
		ThermalThrottle: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"},
		KernelVersion:   "6.1.0", InitPath: "/usr/bin/docker-init",
	}
}

func aRuntime() *features.Features {
	return &features.Features{MountOptions: []string{"ro", "rro"}, Linux: &features.Linux{Namespaces: []string{"pid", "time"}}}
}

// paths is a Machine of a few devices, on which /usr is shared.
type paths struct{}

func device(path string, minor int64) specs.LinuxDevice {
	return specs.LinuxDevice{Path: path, Type: "c", Major: 1, Minor: minor}
}

func (paths) Devices() ([]specs.LinuxDevice, error) {
	return []specs.LinuxDevice{device("/dev/null", 3), device("/dev/zero", 5)}, nil
}

func (paths) DevicesAt(path, inside string) ([]specs.LinuxDevice, error) {
	switch path {
	case "/dev/zero":
		return []specs.LinuxDevice{device(inside, 5)}, nil
	case "/dev/pts":
		return []specs.LinuxDevice{device(inside+"/0", 0), device(inside+"/1", 1)}, nil
	}
	return nil, fmt.Errorf("error gathering device information while adding custom device %q: no such file or directory", path)
}

func (paths) DeviceNumber(string) (major, minor int64, err error) { return 254, 16, nil }

func (paths) Propagation(path string) (mountpoint string, shared, slave bool, err error) {
	return "/", path == "/usr", false, nil
}

// passwd and group are as in the image of the oracle test.
const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n"
	group  = "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n"
)

// create goes the way of a create and a start, with the packages around it left out.
func create(id, hostname string, r request, in spec.Input) (*specs.Spec, error) {
	c := &container.Container{ID: id, Path: "sleep", Args: []string{"1000"}, Config: &api.Config{}, HostConfig: &api.HostConfig{}}
	r.change(c.Config, c.HostConfig)
	req := &api.CreateRequest{Config: c.Config, HostConfig: c.HostConfig}
	if _, err := spec.Adjust("1.56", req, nil, in.Facts); err != nil {
		return nil, err
	}
	if _, err := spec.Check(c.Config, c.HostConfig, in.Defaults, in.Facts); err != nil {
		return nil, err
	}
	labels, err := spec.Confine(c.HostConfig)
	if err != nil {
		return nil, err
	}
	c.AppArmorProfile, c.ProcessLabel, c.MountLabel = labels.AppArmor, labels.Process, labels.Mount
	if in.User, err = spec.Lookup(c.Config.User, c.HostConfig.GroupAdd, []byte(passwd), []byte(group)); err != nil {
		return nil, err
	}
	if c.Config.Hostname == "" {
		c.Config.Hostname = id[:12]
		if c.HostConfig.NetworkMode.IsHost() {
			c.Config.Hostname = hostname
		}
	}
	// What the image has.
	if !slices.ContainsFunc(c.Config.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		c.Config.Env = append(c.Config.Env, "PATH=/bin:/usr/bin:/sbin:/usr/sbin")
	}
	in.Container, in.Mounts = c, r.mounts
	if _, shared := spec.SharedShm(c.HostConfig); shared {
		in.ShmPath = "/state/shm"
	}
	switch {
	case c.HostConfig.IpcMode.IsHost():
		in.ShmPath = "/dev/shm"
	case c.HostConfig.IpcMode.IsContainer():
		in.ShmPath = "/state/others-shm"
	}
	return spec.Build(in)
}

// shorten leaves of a seccomp profile what tells of profiles apart, and is the same on every machine: its full length
// is the business of the package that makes it.
func shorten(p *specs.LinuxSeccomp) {
	if p == nil {
		return
	}
	p.Architectures = nil
	var kept []specs.LinuxSyscall
	for _, rule := range p.Syscalls {
		for _, name := range rule.Names {
			if slices.Contains([]string{"mkdir", "mount", "reboot", "syslog", "chroot"}, name) {
				kept = append(kept, specs.LinuxSyscall{Names: []string{name}, Action: rule.Action, Args: rule.Args})
			}
		}
	}
	p.Syscalls = kept
}

// flat writes a value as lines of a path and a value each.
func flat(t *testing.T, v any) []string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var parsed any
	if err := json.Unmarshal(b, &parsed); err != nil {
		t.Fatal(err)
	}
	var lines []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if len(v) == 0 {
				lines = append(lines, path+" {}")
			}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(path+"."+k, v[k])
			}
		case []any:
			for _, e := range v {
				one, _ := json.Marshal(e)
				lines = append(lines, path+"[] "+string(one))
			}
		default:
			one, _ := json.Marshal(v)
			lines = append(lines, path+" "+string(one))
		}
	}
	walk("", parsed)
	return lines
}

// changes are the lines of one that the other does not have, with a sign in front.
func changes(from, to []string) []string {
	var diff []string
	for _, l := range from {
		if !slices.Contains(to, l) {
			diff = append(diff, "- "+l)
		}
	}
	for _, l := range to {
		if !slices.Contains(from, l) {
			diff = append(diff, "+ "+l)
		}
	}
	return diff
}

// TestRequests compares what becomes of every flag with testdata/requests.txt: the plain request as a whole, the others
// by what they change of it.
func TestRequests(t *testing.T) {
	const golden = "testdata/requests.txt"
	var got strings.Builder
	var plain []string
	for _, r := range requests {
		in := spec.Input{
			Facts: aMachine(), Features: aRuntime(), Machine: paths{},
			HostnameFile: "/state/hostname", Hosts: "/state/hosts", ResolvConf: "/state/resolv.conf",
			Namespaces: map[specs.LinuxNamespaceType]string{
				specs.PIDNamespace: "/proc/7/ns/pid", specs.IPCNamespace: "/proc/7/ns/ipc",
			},
			Defaults: spec.Defaults{Ulimits: map[string]*api.Ulimit{"nofile": {Name: "nofile", Soft: 1024, Hard: 4096}}},
		}
		if strings.Contains(r.flags, "--network container:") {
			in.Namespaces[specs.NetworkNamespace] = "/proc/7/ns/net"
		}
		s, err := create(strings.Repeat("a1", 32), "machine", r, in)
		if err != nil {
			t.Errorf("docker run %s: %v", r.flags, err)
			continue
		}
		fmt.Fprintf(&got, "docker run %s\n", r.flags)
		shorten(s.Linux.Seccomp)
		lines := flat(t, s)
		if plain == nil {
			plain = lines
			fmt.Fprintf(&got, "  %s\n", strings.Join(lines, "\n  "))
			continue
		}
		for _, l := range changes(plain, lines) {
			fmt.Fprintf(&got, "  %s\n", l)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
		t.Errorf("%s says otherwise (run with -update when it is wrong): -want +got\n%s", golden, d)
	}
}
