package buildkit

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/gantry-containers/gantry/engine/cni"
	"github.com/gantry-containers/gantry/engine/config"
)

// Settings are what the daemon is told.
type Settings struct {
	// Address, Namespace and Snapshotter are of the manager.
	Address, Namespace, Snapshotter string
	// CgroupParent is that of containers; AppArmor the profile of steps, if there is one.
	CgroupParent, AppArmor string
	// Certs has a folder for each registry with certificates of its own, as dockerd's certs.d; empty for none.
	Certs string
	// Bridge is CNI's way to the networks of steps; empty for the host's network.
	Bridge cni.Installed

	Debug    bool
	Builder  config.Builder
	Registry config.Registry
	Network  config.Network
	Proxies  config.Proxies
	CDIDirs  []string
}

// stepsFolder is in whose cgroup the containers of steps have theirs; they are known by it, too.
const stepsFolder = "gantry-build"

// cgroupParent is the cgroup of steps: in that of containers, unless this is a slice, which only systemd makes.
func (s Settings) cgroupParent() string {
	parent := s.CgroupParent
	if parent == "" || strings.HasSuffix(parent, ".slice") {
		parent = "docker"
	}
	return path.Join("/", parent, stepsFolder)
}

// hostGatewayLabel tells buildx what host-gateway stands for.
const hostGatewayLabel = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"

type tomlFile struct {
	Root         string                  `toml:"root"`
	Entitlements []string                `toml:"insecure-entitlements"`
	Log          tomlLog                 `toml:"log"`
	OTEL         tomlOTEL                `toml:"otel"`
	CDI          tomlCDI                 `toml:"cdi"`
	DNS          *tomlDNS                `toml:"dns,omitempty"`
	History      *tomlHistory            `toml:"history,omitempty"`
	Worker       tomlWorkers             `toml:"worker"`
	Registry     map[string]tomlRegistry `toml:"registry,omitempty"`
}

type tomlLog struct {
	Level string `toml:"level"`
}

type tomlOTEL struct {
	Socket string `toml:"socketPath"`
}

type tomlCDI struct {
	Disabled bool     `toml:"disabled,omitempty"`
	Dirs     []string `toml:"specDirs,omitempty"`
}

type tomlDNS struct {
	Servers []string `toml:"nameservers,omitempty"`
	Options []string `toml:"options,omitempty"`
	Search  []string `toml:"searchDomains,omitempty"`
}

type tomlHistory struct {
	Age     string `toml:"maxAge"`
	Entries int64  `toml:"maxEntries"`
}

type tomlWorkers struct {
	OCI struct {
		Enabled bool `toml:"enabled"`
	} `toml:"oci"`
	Containerd tomlWorker `toml:"containerd"`
}

type tomlWorker struct {
	Enabled      bool              `toml:"enabled"`
	Address      string            `toml:"address"`
	Namespace    string            `toml:"namespace"`
	Snapshotter  string            `toml:"snapshotter"`
	Network      string            `toml:"networkMode"`
	CNIConfig    string            `toml:"cniConfigPath,omitempty"`
	CNIPrograms  string            `toml:"cniBinaryPath,omitempty"`
	CgroupParent string            `toml:"defaultCgroupParent"`
	AppArmor     string            `toml:"apparmor-profile,omitempty"`
	Labels       map[string]string `toml:"labels,omitempty"`
	GC           bool              `toml:"gc"`
	tomlSpace
	Rules []tomlRule `toml:"gcpolicy,omitempty"`
}

type tomlSpace struct {
	Reserved int64 `toml:"reservedSpace,omitempty"`
	MaxUsed  int64 `toml:"maxUsedSpace,omitempty"`
	MinFree  int64 `toml:"minFreeSpace,omitempty"`
}

type tomlRule struct {
	All     bool     `toml:"all,omitempty"`
	Keep    string   `toml:"keepDuration,omitempty"`
	Filters []string `toml:"filters,omitempty"`
	tomlSpace
}

type tomlRegistry struct {
	Mirrors  []string `toml:"mirrors,omitempty"`
	HTTP     bool     `toml:"http,omitempty"`
	Insecure bool     `toml:"insecure,omitempty"`
	Certs    []string `toml:"tlsconfigdir,omitempty"`
}

// file is the daemon's configuration.
func (s Settings) file(root, state string) ([]byte, error) {
	f := tomlFile{
		Root: root, Entitlements: s.entitlements(), Log: tomlLog{Level: "info"},
		OTEL: tomlOTEL{Socket: filepath.Join(state, "otel.sock")}, CDI: tomlCDI{Disabled: s.CDIDirs != nil && len(s.CDIDirs) == 0, Dirs: s.CDIDirs},
		DNS: s.dns(), Registry: s.registries(),
	}
	if s.Debug {
		f.Log.Level = "debug"
	}
	if h := s.Builder.History; h != nil {
		f.History = &tomlHistory{Age: h.Age.String(), Entries: h.Entries}
	}
	gc := s.Builder.GC
	w := &f.Worker.Containerd
	*w = tomlWorker{
		Enabled: true, Address: s.Address, Namespace: s.Namespace, Snapshotter: s.Snapshotter, Network: "host", CgroupParent: s.cgroupParent(),
		AppArmor: s.AppArmor, GC: !gc.Disabled, tomlSpace: tomlSpace(gc.Space),
	}
	if s.Bridge != (cni.Installed{}) {
		w.Network, w.CNIConfig, w.CNIPrograms = "cni", s.Bridge.Config, s.Bridge.Programs
	}
	for _, r := range gc.Rules {
		rule := tomlRule{All: r.All, Filters: r.Filters, tomlSpace: tomlSpace(r.Space)}
		if r.Keep > 0 {
			rule.Keep = r.Keep.String()
		}
		w.Rules = append(w.Rules, rule)
	}
	if ip := s.hostGateway(); ip != "" {
		w.Labels = map[string]string{hostGatewayLabel: ip}
	}
	return toml.Marshal(f)
}

// entitlements are what builds may ask for.
func (s Settings) entitlements() []string {
	allowed := []string{"device"}
	if s.Builder.NetworkHost {
		allowed = append(allowed, "network.host")
	}
	if s.Builder.Insecure {
		allowed = append(allowed, "security.insecure")
	}
	return allowed
}

func (s Settings) dns() *tomlDNS {
	n := s.Network
	if len(n.DNS)+len(n.DNSOptions)+len(n.DNSSearch) == 0 {
		return nil
	}
	d := &tomlDNS{Options: n.DNSOptions, Search: n.DNSSearch}
	for _, a := range n.DNS {
		d.Servers = append(d.Servers, a.String())
	}
	return d
}

// registries are mirrors of the hub, and registries without a certificate that can be checked. BuildKit knows hosts only,
// no networks; it trusts the loopback by itself.
func (s Settings) registries() map[string]tomlRegistry {
	all := map[string]tomlRegistry{}
	for _, host := range s.Registry.Insecure {
		if !strings.Contains(host, "/") {
			all[host] = tomlRegistry{HTTP: true, Insecure: true}
		}
	}
	certs, _ := os.ReadDir(s.Certs) // Without a folder there are none.
	for _, host := range certs {
		r := all[host.Name()]
		r.Certs = []string{filepath.Join(s.Certs, host.Name())}
		all[host.Name()] = r
	}
	if len(s.Registry.Mirrors) == 0 {
		return all
	}
	const hub = "docker.io"
	h := all[hub]
	for _, m := range s.Registry.Mirrors {
		u, err := url.Parse(m)
		if err != nil { // It was checked when it was read.
			continue
		}
		h.Mirrors = append(h.Mirrors, u.Host+u.Path)
		if u.Scheme == "http" {
			all[u.Host] = tomlRegistry{HTTP: true}
		}
	}
	all[hub] = h
	return all
}

// hostGateway is an IPv4 address if there is one: buildx knows only one.
func (s Settings) hostGateway() (ip string) {
	for _, a := range s.Network.HostGatewayIPs {
		if ip = a.String(); a.Is4() {
			break
		}
	}
	return ip
}

// environment is an environment with the proxies that were set, and a folder for what is written in passing.
func (s Settings) environment(env []string, root string) []string {
	set := map[string]string{"HTTP_PROXY": s.Proxies.HTTP, "HTTPS_PROXY": s.Proxies.HTTPS, "NO_PROXY": s.Proxies.No, "TMPDIR": filepath.Join(root, "tmp")}
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return set[strings.ToUpper(name)] != ""
	})
	for name, v := range set {
		if v != "" {
			env = append(env, name+"="+v)
		}
	}
	slices.Sort(env)
	return env
}
