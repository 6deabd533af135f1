package config

import (
	"cmp"
	"fmt"
	"strings"
)

// others are dockerd's settings for what does not exist here. Those that would weaken who relies on them are refused;
// the others are taken, and their names are told.
type others struct {
	refused, ignored []string
	liveRestore      bool
	restart          bool
}

// note is a value of which is noted that it was set, whatever to.
func note(to *[]string, name, kind string) value {
	see := func(s string) {
		if s != "" && s != "false" && s != "0" {
			*to = append(*to, name)
		}
	}
	return value{
		kind: kind,
		set:  func(s string) error { see(s); return nil },
		fill: func(b []byte) error {
			switch s := strings.TrimSpace(string(b)); s {
			case "[]", "{}", "null", `""`:
			default:
				see(s)
			}
			return nil
		},
	}
}

func (o *others) refuse(flag, kind string) setting {
	return setting{flag: flag, value: note(&o.refused, flag, kind), usage: "Not supported: refused"}
}

func (o *others) ignore(flag, key, kind string) setting {
	return setting{flag: flag, key: key, value: note(&o.ignored, cmp.Or(flag, key), kind), usage: "Accepted, without an effect"}
}

func (o *others) settings() []setting {
	return []setting{
		{flag: "live-restore", value: yesNo(&o.liveRestore), usage: "Containers always outlive the engine: accepted"},
		{flag: "restart", short: "r", value: yesNo(&o.restart), usage: "Deprecated: accepted"},
		o.refuse("rootless", "bool"),
		o.refuse("selinux-enabled", "bool"),
		o.refuse("apparmor-profile", "string"),
		o.refuse("cpu-rt-period", "int"),
		o.refuse("cpu-rt-runtime", "int"),
		o.refuse("cri-containerd", "bool"),
		o.ignore("metrics-addr", "", "string"),
		o.ignore("storage-opt", "storage-opts", "list"),
		o.ignore("swarm-default-advertise-addr", "", "string"),
		o.ignore("", "swarm-raft-heartbeat-tick", "int"),
		o.ignore("", "swarm-raft-election-tick", "int"),
		o.ignore("node-generic-resource", "node-generic-resources", "list"),
		o.ignore("containerd-plugins-namespace", "containerd-plugin-namespace", "string"),
		o.ignore("network-control-plane-mtu", "", "int"),
		o.ignore("network-diagnostic-port", "", "int"),
		o.ignore("nri-opts", "", "list"),
		o.ignore("extension-dir", "extension-dirs", "list"),
		o.ignore("", "extension-config", "map"),
		o.ignore("", "default-init", "string"),
		o.ignore("resolv-conf", "", "string"),
		o.ignore("", "allow-nondistributable-artifacts", "list"),
		o.ignore("", "deprecated-key-path", "string"),
	}
}

func (o *others) check() error {
	if len(o.refused) > 0 {
		return fmt.Errorf("--%s: not supported by gantry-engine", o.refused[0])
	}
	return nil
}
