package config

import "slices"

// setting is one thing that can be told by a flag, by the file, or both.
type setting struct {
	// flag is empty for what only the file can tell; key is empty when it is the flag's name.
	flag, short, key string
	value            value
	usage            string
	// both allows the flag and the file to name it: what they say is put together.
	both bool
}

func (s setting) name() string {
	if s.key != "" {
		return s.key
	}
	return s.flag
}

// settings are the names of dockerd, in five groups: the engine, what containers get, registries, the network, and
// those that mean nothing here.
func (c *Config) settings(unused *others) []setting {
	return slices.Concat(c.engine(), c.containers(), c.registries(), c.network(), unused.settings())
}

func (c *Config) engine() []setting {
	return []setting{
		{flag: "data-root", value: text(&c.Root), usage: "Folder for what survives a reboot"},
		{flag: "exec-root", value: text(&c.ExecRoot), usage: "Folder for what does not"},
		{flag: "host", short: "H", key: "hosts", value: checkedWords(&c.Hosts, checkHost), usage: "Address to listen on; can be repeated"},
		{flag: "group", short: "G", value: text(&c.Group), usage: "Group of the unix socket"},
		{flag: "pidfile", short: "p", value: text(&c.Pidfile), usage: "File for the process id"},
		{flag: "containerd", value: text(&c.Containerd), usage: "Address of a manager (containerd or gantry-manager); one is started when empty"},
		{flag: "containerd-namespace", value: text(&c.Namespace), usage: "Namespace of the manager for containers and images"},
		{flag: "storage-driver", short: "s", value: text(&c.Snapshotter), usage: "Snapshotter of the manager"},
		{flag: "label", key: "labels", value: words(&c.Labels), usage: "Label key=value of this engine; can be repeated"},
		{flag: "feature", key: "features", value: switches(c.Features), usage: "Turn a feature on or, with =false, off; can be repeated"},
		{flag: "experimental", value: yesNo(&c.Experimental), usage: "Tell clients that experimental features may be asked for"},
		{flag: "shutdown-timeout", value: number(&c.ShutdownTimeout), usage: "Seconds, told to clients: containers outlive the engine"},
		{flag: "buildkitd", value: text(&c.Builder.Program), usage: "Path of buildkitd, which is started for builds; the one beside this program or in PATH when empty"},
		{key: "builder", value: builder(&c.Builder)},
		{flag: "userns-remap", value: text(&c.UsernsRemap), usage: "User or user:group whose ranges of ids containers have"},
		{flag: "userns-pool", value: text(&c.UsernsPool), usage: "User whose ranges of ids are cut up for containers with a user namespace of their own"},
		{flag: "userns-per-container", value: yesNo(&c.UsernsEach), usage: "Give each container a range of --userns-pool"},
		{flag: "authorization-plugin", key: "authorization-plugins", value: words(&c.AuthZ), usage: "Plugin that must allow each request; can be repeated"},
		{key: "min-api-version", value: text(&c.MinAPI)},
		{flag: "tls", value: yesNo(&c.TLS.Enabled), usage: "Serve tcp addresses by TLS; implied by --tlsverify"},
		{flag: "tlsverify", value: yesNo(&c.TLS.Verify), usage: "Serve tcp addresses by TLS to clients with a certificate"},
		{flag: "tlscacert", value: text(&c.TLS.CA), usage: "Who signed the certificates of clients"},
		{flag: "tlscert", value: text(&c.TLS.Cert), usage: "Certificate of this engine"},
		{flag: "tlskey", value: text(&c.TLS.Key), usage: "Key of this engine"},
		{flag: "debug", short: "D", value: yesNo(&c.Log.Debug), usage: "Log more"},
		{flag: "log-level", short: "l", value: text(&c.Log.Level), usage: "debug, info, warn, error or fatal"},
		{flag: "log-format", value: text(&c.Log.Format), usage: "text or json"},
		{flag: "raw-logs", value: yesNo(&c.Log.Raw), usage: "No colours, which there never are"},
	}
}

func (c *Config) containers() []setting {
	d := &c.Containers
	return []setting{
		{flag: "default-runtime", value: text(&d.DefaultRuntime), usage: "Runtime of containers that name none"},
		{flag: "add-runtime", key: "runtimes", value: runtimes(d.Runtimes), both: true, usage: "Another OCI runtime, name=path; can be repeated"},
		{flag: "log-driver", value: text(&d.LogDriver), usage: "Log driver of containers that name none"},
		{flag: "log-opt", key: "log-opts", value: options(d.LogOpts), usage: "Option key=value for it; can be repeated"},
		{flag: "default-ulimit", key: "default-ulimits", value: ulimits(d.Ulimits), usage: "Limit name=soft:hard; can be repeated"},
		{flag: "default-shm-size", value: size(&d.ShmSize), usage: "Size of /dev/shm"},
		{flag: "init", value: yesNo(&d.Init), usage: "Run an init in containers"},
		{flag: "init-path", value: text(&d.InitPath), usage: "Path of that init"},
		{flag: "seccomp-profile", value: text(&d.Seccomp), usage: "Path of a seccomp profile, builtin or unconfined"},
		{flag: "no-new-privileges", value: yesNo(&d.NoNewPrivileges), usage: "Set no-new-privileges for containers"},
		{flag: "cgroup-parent", value: text(&d.CgroupParent), usage: "Cgroup that containers' cgroups are made in"},
		{flag: "exec-opt", key: "exec-opts", value: cgroupDriver(&d.CgroupDriver), usage: "native.cgroupdriver=cgroupfs or systemd"},
		{flag: "default-ipc-mode", value: text(&d.IpcMode), usage: "private or shareable"},
		{flag: "default-cgroupns-mode", value: text(&d.CgroupnsMode), usage: "host or private"},
		{flag: "cdi-spec-dir", key: "cdi-spec-dirs", value: words(&d.CDIDirs), usage: "Folder of CDI descriptions of devices; can be repeated"},
		{flag: "default-stop-timeout", value: number(&d.StopTimeout), usage: "Seconds between a stop signal and SIGKILL"},
	}
}

func (c *Config) registries() []setting {
	r, p := &c.Registry, &c.Proxies
	return []setting{
		{flag: "registry-mirror", key: "registry-mirrors", value: checkedWords(&r.Mirrors, checkMirror), usage: "URL of a mirror of the hub; can be repeated"},
		{flag: "insecure-registry", key: "insecure-registries", value: words(&r.Insecure), usage: "Registry, or network of registries, without TLS; can be repeated"},
		{flag: "max-concurrent-downloads", value: number(&r.Downloads), usage: "Downloads at the same time"},
		{flag: "max-concurrent-uploads", value: number(&r.Uploads), usage: "Uploads at the same time"},
		{flag: "max-download-attempts", value: number(&r.Attempts), usage: "Attempts of a download"},
		{flag: "http-proxy", value: text(&p.HTTP), usage: "Proxy for http"},
		{flag: "https-proxy", value: text(&p.HTTPS), usage: "Proxy for https"},
		{flag: "no-proxy", value: text(&p.No), usage: "Hosts that are reached without a proxy, by commas"},
	}
}

func (c *Config) network() []setting {
	n := &c.Network
	return []setting{
		{flag: "dns", value: addresses(&n.DNS), usage: "Name server for containers; can be repeated"},
		{flag: "dns-opt", key: "dns-opts", value: words(&n.DNSOptions), usage: "Option for resolv.conf; can be repeated"},
		{flag: "dns-search", value: words(&n.DNSSearch), usage: "Search domain for containers; can be repeated"},
		{flag: "host-gateway-ip", key: "host-gateway-ips", value: addresses(&n.HostGatewayIPs), usage: "What host-gateway means in --add-host"},
		{flag: "bridge", short: "b", value: text(&n.Bridge), usage: "Bridge for containers; none for no default network"},
		{flag: "bip", value: text(&n.BridgeIP), usage: "IPv4 address of the default bridge"},
		{flag: "bip6", value: text(&n.BridgeIP6), usage: "IPv6 address of the default bridge"},
		{flag: "fixed-cidr", value: text(&n.FixedCIDR), usage: "IPv4 subnet for the default bridge"},
		{flag: "fixed-cidr-v6", value: text(&n.FixedCIDR6), usage: "IPv6 subnet for the default bridge"},
		{flag: "mtu", value: number(&n.MTU), usage: "MTU of the default bridge"},
		{flag: "iptables", value: yesNo(&n.IPTables), usage: "Write firewall rules"},
		{flag: "ip6tables", value: yesNo(&n.IP6Tables), usage: "Write firewall rules for IPv6"},
		{flag: "ip-forward", value: yesNo(&n.IPForward), usage: "Turn forwarding on"},
		{flag: "ip-forward-no-drop", value: yesNo(&n.NoForwardDrop), usage: "Leave the policy for forwarding as it is"},
		{flag: "ip-masq", value: yesNo(&n.IPMasq), usage: "Masquerade the default bridge"},
		{flag: "ipv6", value: yesNo(&n.IPv6), usage: "IPv6 on the default bridge"},
		{flag: "icc", value: yesNo(&n.ICC), usage: "Let containers on the default bridge reach each other"},
		{flag: "ip", value: text(&n.PublishIP), usage: "Address for published ports"},
		{flag: "default-gateway", value: text(&n.Gateway), usage: "IPv4 gateway of the default bridge"},
		{flag: "default-gateway-v6", value: text(&n.Gateway6), usage: "IPv6 gateway of the default bridge"},
		{flag: "userland-proxy", value: yesNo(&n.UserlandProxy), usage: "Proxy for ports published on loopback"},
		{flag: "userland-proxy-path", value: text(&n.UserlandProxyPath), usage: "Path of that proxy"},
		{flag: "firewall-backend", value: text(&n.FirewallBackend), usage: "iptables or nftables"},
		{flag: "allow-direct-routing", value: yesNo(&n.DirectRouting), usage: "Let others reach published ports on containers' addresses"},
		{flag: "bridge-accept-fwmark", value: text(&n.AcceptFwMark), usage: "Accept packets with this firewall mark"},
		{flag: "default-address-pool", key: "default-address-pools", value: pools(&n.Pools), usage: "Where networks get their subnets; can be repeated"},
		{flag: "default-network-opt", key: "default-network-opts", value: driverOptions(n.DriverOptions), usage: "Option driver=key=value of new networks; can be repeated"},
	}
}
