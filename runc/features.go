package main

import (
	"encoding/json"
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
)

func (p *program) featuresCommand() *cli.Command {
	return &cli.Command{
		Name:            "features",
		Usage:           "print what this runtime can do, as JSON",
		ArgsUsage:       " ", // none: cli would invent some
		Description:     "The object is the OCI runtime specification's features structure.",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			encoder := json.NewEncoder(c.App.Writer)
			encoder.SetIndent("", "    ")
			return encoder.Encode(featureList())
		},
	}
}

// featureList is what containerd and moby ask for once per runtime. True means built in,
// whatever the host has.
func featureList() *features.Features {
	yes := true
	libseccomp := libseccompVersion()
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  mountOptions(),
		Linux: &features.Linux{
			Namespaces:      []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities:    plan.CapNames(math.MaxInt),
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp:         seccompFeatures(libseccomp != ""),
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy:    memoryPolicyFeatures(),
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		Annotations: featureAnnotations(libseccomp),
		// runc's list and crun's, as far as one of these does something here.
		PotentiallyUnsafeConfigAnnotations: []string{
			"bundle", "org.systemd.property.", "org.criu.config", "run.oci.", "module.wasm.image/variant",
		},
	}
}

// mountOptions are those that are no file system's own, in alphabetical order.
func mountOptions() []string {
	return []string{
		"async", "atime", "bind", "copy-symlink", "defaults", "dest-nofollow", "dev", "diratime", "dirsync", "exec", "idmap", "iversion",
		"lazytime", "loud", "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion",
		"nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow", "private",
		"ratime", "rbind", "rdev", "rdiratime", "relatime", "remount", "rexec", "ridmap", "rnoatime", "rnodev",
		"rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "ro",
		"rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime", "rsuid",
		"rsymfollow", "runbindable", "rw", "shared", "silent", "slave", "src-nofollow", "strictatime", "suid",
		"symfollow", "sync", "tmpcopyup", "unbindable",
	}
}

// memoryPolicyFeatures are all that set_mempolicy(2) has.
func memoryPolicyFeatures() *features.MemoryPolicy {
	return &features.MemoryPolicy{
		Modes: []string{
			string(specs.MpolDefault), string(specs.MpolPreferred), string(specs.MpolBind), string(specs.MpolInterleave),
			string(specs.MpolLocal), string(specs.MpolPreferredMany), string(specs.MpolWeightedInterleave),
		},
		Flags: []string{string(specs.MpolFNumaBalancing), string(specs.MpolFRelativeNodes), string(specs.MpolFStaticNodes)},
	}
}

func seccompFeatures(enabled bool) *features.Seccomp {
	if !enabled {
		return &features.Seccomp{Enabled: &enabled}
	}
	return &features.Seccomp{
		Enabled:        &enabled,
		Actions:        seccomp.KnownActions(),
		Operators:      seccomp.KnownOperators(),
		Archs:          seccomp.KnownArchs(),
		KnownFlags:     seccomp.KnownFlags(),
		SupportedFlags: seccomp.SupportedFlags(),
	}
}

// featureAnnotations have runc's keys, under which clients look for these facts, and one of ours: once a container is
// created, its rootfs need not be mounted in the bundle any more (docs/decisions/0047-brief-rootfs.md).
func featureAnnotations(libseccomp string) map[string]string {
	all := map[string]string{
		"org.opencontainers.runc.version":            version,
		"org.opencontainers.runc.checkpoint.enabled": "true",
		"io.gantry.rootfs.brief":                     "true",
	}
	if commit != "" {
		all["org.opencontainers.runc.commit"] = commit
	}
	if libseccomp != "" {
		all["io.github.seccomp.libseccomp.version"] = libseccomp
	}
	return all
}
