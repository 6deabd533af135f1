package spec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/host"
)

// Defaults are the engine's settings that show in every container.
type Defaults struct {
	CgroupParent string
	Init         bool
	// InitPath is the program for --init; empty for the one that host.Facts found.
	InitPath        string
	Ulimits         map[string]*api.Ulimit
	ShmSize         int64 // bytes; 0 for 64 MiB
	IpcMode         string
	CgroupnsMode    string
	NoNewPrivileges bool
	// SeccompProfile is "", builtin, unconfined, or a path, whose content is then in SeccompJSON.
	SeccompProfile string
	SeccompJSON    []byte
	// Runtime is the name of the default one, Runtimes those that were configured beside runc.
	Runtime  string
	Runtimes []string
	// CDIDirs are where devices with names are described; nil for the usual folders.
	CDIDirs []string
}

// User is who runs, looked up in the container's own passwd and group files.
type User struct {
	UID, GID   uint32
	Additional []uint32
	Home       string
}

// Machine answers what Build must ask about paths of the host when a request names them. host.Machine does.
type Machine interface {
	// Devices are all of /dev.
	Devices() ([]specs.LinuxDevice, error)
	// DevicesAt are those at or below a path, with the path inside in its place.
	DevicesAt(path, inside string) ([]specs.LinuxDevice, error)
	DeviceNumber(path string) (major, minor int64, err error)
	// Propagation tells of the mount that holds a path whether it is shared, or a slave of others.
	Propagation(path string) (mountpoint string, shared, slave bool, err error)
}

// CDI changes a spec so that the container gets devices by their names ("vendor.com/gpu=0"), and says which names it does
// not know. host.CDI does.
type CDI interface {
	InjectDevices(s *specs.Spec, names ...string) (unknown []string, err error)
	// ListVendors are the makers of devices that have names here ("nvidia.com").
	ListVendors() []string
}

// Input is all that a spec is made of.
type Input struct {
	Container *container.Container
	// Mounts with their sources, as package mounts prepared them; beside them come Hostname, Hosts and ResolvConf.
	Mounts                          []container.Mount
	HostnameFile, Hosts, ResolvConf string
	// ShmPath is the folder that is mounted on /dev/shm when it is shared; empty for a tmpfs of its own.
	ShmPath string
	User    User
	// LinkEnv are the environment variables that legacy links give.
	LinkEnv []string
	// Namespaces maps a namespace to join to the path of it: of other containers ("container:x") and of the network.
	Namespaces map[specs.LinuxNamespaceType]string
	Facts      host.Facts
	Defaults   Defaults
	// Machine is asked about devices and mounts; nil for host.Machine.
	Machine Machine
	// CDI is asked for devices by name; nil for host.CDI of the engine's folders.
	CDI CDI
	// Features are what the runtime says it can do; nil when that is not known, and then it is not asked for what older
	// runtimes refuse: time namespaces and recursive read-only mounts.
	Features *features.Features
}

// Build makes the OCI spec. An error of it is the machine's or the moment's, and never the fault of who asks for a start:
// what is wrong with a request by itself was found by Check.
func Build(in Input) (*specs.Spec, error) {
	s, err := build(in)
	return s, fault.As(errdefs.ErrInternal, err)
}

func build(in Input) (*specs.Spec, error) {
	if in.Machine == nil {
		in.Machine = host.Machine{}
	}
	if in.CDI == nil {
		in.CDI = host.CDI{Dirs: in.Defaults.CDIDirs}
	}
	c := in.Container
	opts, err := parseSecurity(c.HostConfig.SecurityOpt, in.Defaults.NoNewPrivileges)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: "rootfs", Readonly: c.HostConfig.ReadonlyRootfs},
		Hostname:    c.Config.Hostname,
		Annotations: maps.Clone(c.HostConfig.Annotations),
		Linux:       &specs.Linux{MountLabel: c.MountLabel},
	}
	if s.Process, err = process(&in, opts); err != nil {
		return nil, err
	}
	s.Linux.CgroupsPath = cgroupsPath(&in)
	s.Linux.Sysctl = sysctls(&in)
	if s.Linux.Resources, err = createResources(c.HostConfig.Resources, in.Machine); err != nil {
		return nil, err
	}
	if err := devices(&in, s); err != nil {
		return nil, err
	}
	if err := namespaces(&in, s); err != nil {
		return nil, err
	}
	if s.Linux.Seccomp, err = seccompProfile(&in, opts, s); err != nil {
		return nil, err
	}
	if s.Mounts, s.Linux.RootfsPropagation, err = mounts(&in, opts); err != nil {
		return nil, err
	}
	paths(&in, s.Linux)
	// Last: it may add to anything.
	if err := deviceRequests(&in, s); err != nil {
		return nil, err
	}
	return s, nil
}

// paths hides and protects what the kernel shows of the whole machine.
func paths(in *Input, l *specs.Linux) {
	hc := in.Container.HostConfig
	if !hc.Privileged {
		l.MaskedPaths = slices.Concat(maskedPaths, in.Facts.ThermalThrottle)
		l.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	// An empty list is an answer: --security-opt systempaths=unconfined sends one.
	if hc.MaskedPaths != nil {
		l.MaskedPaths = hc.MaskedPaths
	}
	if hc.ReadonlyPaths != nil {
		l.ReadonlyPaths = hc.ReadonlyPaths
	}
}

// sysctls are Docker's own, then those that the client asked for.
func sysctls(in *Input) map[string]string {
	hc := in.Container.HostConfig
	set := map[string]string{}
	if d := in.Container.Config.Domainname; d != "" {
		set["kernel.domainname"] = d
	}
	// A container with a network of its own may ping and listen on low ports without capabilities.
	if hc.NetworkMode.IsPrivate() {
		if in.Facts.PingGroupRange && !in.Facts.UserNamespace && in.Container.IDs.Empty() {
			set["net.ipv4.ping_group_range"] = "0 2147483647"
		}
		if in.Facts.UnprivilegedPorts {
			set["net.ipv4.ip_unprivileged_port_start"] = "0"
		}
	}
	maps.Copy(set, hc.Sysctls)
	return set
}

// joined is the path of a namespace that the request wants and the caller has found.
func (in *Input) joined(t specs.LinuxNamespaceType) (string, error) {
	if p := in.Namespaces[t]; p != "" {
		return p, nil
	}
	return "", fmt.Errorf("no container is known whose %s namespace can be joined", t)
}
