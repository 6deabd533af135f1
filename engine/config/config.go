package config

import (
	"net/netip"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
)

// Config is all settings, complete and checked.
type Config struct {
	// Root keeps what survives a reboot (--data-root); ExecRoot what does not (--exec-root).
	Root, ExecRoot string
	// Hosts are the addresses to listen on: unix:///path, fd://, tcp://host:port (mutual TLS only).
	Hosts []string
	// Containerd is the address of a manager; empty to start one.
	Containerd string
	// Namespace of the manager that containers and images live in.
	Namespace string
	// Snapshotter of the manager; empty for overlayfs.
	Snapshotter string
	// Pidfile is empty for none. Group owns unix sockets.
	Pidfile, Group string
	// MinAPI is the oldest API version that is served.
	MinAPI string
	// Labels of this engine, key=value.
	Labels   []string
	Features map[string]bool
	// UsernsRemap is whose ids all containers have: default, user, user:group, uid or uid:gid; empty for the host's.
	UsernsRemap string
	// UsernsPool is whose ids are for containers with a range of their own; UsernsEach gives one to all.
	UsernsPool string
	UsernsEach bool
	// AuthZ are the names of plugins that must allow each request, in order.
	AuthZ []string
	// Experimental is told to clients; nothing else depends on it.
	Experimental bool
	// ShutdownTimeout is told to who asks, in seconds; containers always outlive the engine.
	ShutdownTimeout int

	TLS        TLS
	Log        Log
	Containers Containers
	Registry   Registry
	Network    Network
	Proxies    Proxies
	Builder    Builder
}

// TLS is for tcp addresses. Clients must show a certificate that CA signed.
type TLS struct {
	// Enabled and Verify are what was asked for; without both no tcp address is served.
	Enabled, Verify bool
	// CA, Cert and Key are paths of PEM files.
	CA, Cert, Key string
}

// Log is about the engine's own log.
type Log struct {
	Debug bool
	// Level is debug, info, warn, error or fatal; Format text or json.
	Level, Format string
	Raw           bool
}

// Containers is what containers get when they do not say.
type Containers struct {
	// DefaultRuntime is the name of a runtime: runc or one of Runtimes.
	DefaultRuntime string
	Runtimes       map[string]system.Runtime
	// LogDriver and LogOpts are for containers without a log driver of their own.
	LogDriver string
	LogOpts   map[string]string
	Ulimits   map[string]*container.Ulimit
	// Init runs InitPath as the first process of each container.
	Init     bool
	InitPath string
	// ShmSize of /dev/shm, in bytes.
	ShmSize int64
	// Seccomp is the path of a profile, builtin or unconfined.
	Seccomp         string
	NoNewPrivileges bool
	// CgroupParent is a path, or a slice; empty for /docker. CgroupDriver is cgroupfs or systemd; empty for what fits.
	CgroupParent, CgroupDriver string
	// IpcMode is private or shareable, CgroupnsMode host or private; empty for what fits the machine.
	IpcMode, CgroupnsMode string
	// CDIDirs are where devices with names are described; nil for the usual folders.
	CDIDirs []string
	// StopTimeout is the patience with a container's stop signal, in seconds.
	StopTimeout int
}

// Registry is about pulls and pushes.
type Registry struct {
	// Mirrors of the hub, as URLs. Insecure are hosts, or networks as 10.0.0.0/8.
	Mirrors, Insecure []string
	// Downloads and Uploads run at the same time at most; Attempts of a pull.
	Downloads, Uploads, Attempts int
}

// Network is about names and the bridge.
type Network struct {
	DNS            []netip.Addr
	DNSOptions     []string
	DNSSearch      []string
	HostGatewayIPs []netip.Addr
	// The default bridge and the firewall: used with the bridge driver.
	Bridge, BridgeIP, BridgeIP6, FixedCIDR, FixedCIDR6 string
	MTU                                                int
	IPTables, IP6Tables, IPForward, IPMasq, IPv6, ICC  bool
	UserlandProxy                                      bool
	UserlandProxyPath, PublishIP, Gateway, Gateway6    string
	FirewallBackend                                    string
	NoForwardDrop, DirectRouting                       bool
	AcceptFwMark                                       string
	Pools                                              []Pool
	DriverOptions                                      map[string]map[string]string
}

// Pool is where networks without a subnet get theirs from.
type Pool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"`
}

// Proxies are for connections to registries.
type Proxies struct{ HTTP, HTTPS, No string }

// standIn is dockerd's name: under it, the engine listens where dockerd does.
const standIn = "dockerd"

// Default is the configuration of a program of a name without flags and file. Data of a real dockerd is never touched:
// the folders are always our own.
func Default(program string) *Config {
	c := &Config{
		Root: "/var/lib/gantry/engine", ExecRoot: "/run/gantry/engine", Pidfile: "/run/gantry/engine.pid",
		Namespace: "moby", Group: "docker", MinAPI: MinAPI, ShutdownTimeout: 15, Features: map[string]bool{},
		Log: Log{Level: "info", Format: "text"},
		Containers: Containers{
			DefaultRuntime: stockRuntime, Runtimes: map[string]system.Runtime{}, Ulimits: map[string]*units.Ulimit{},
			LogDriver: "json-file", LogOpts: map[string]string{}, ShmSize: 64 << 20, Seccomp: "builtin", IpcMode: "private", StopTimeout: 10,
		},
		Registry: Registry{Downloads: 3, Uploads: 5, Attempts: 5},
		Network: Network{
			MTU: 1500, IPTables: true, IP6Tables: true, IPForward: true, IPMasq: true, ICC: true, UserlandProxy: true,
			DriverOptions: map[string]map[string]string{},
		},
		Builder: Builder{NetworkHost: true},
	}
	if program == standIn {
		c.Pidfile = "/run/docker.pid"
	}
	return c
}

func defaultHost(program string) string {
	if program == standIn {
		return "unix:///run/docker.sock"
	}
	return "unix:///run/gantry/engine.sock"
}

func defaultFile(program string) string {
	if program == standIn {
		return "/etc/docker/daemon.json"
	}
	return "/etc/gantry/engine.json"
}
