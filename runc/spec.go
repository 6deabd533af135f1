package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

const specFile = "config.json"

func (p *program) specCommand() *cli.Command {
	return &cli.Command{
		Name:            "spec",
		Usage:           "write a config.json to start from",
		ArgsUsage:       " ", // none: cli would invent some
		Description:     "It runs a shell in the root file system ./rootfs. A file that exists is not touched.",
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "write into `DIR` (default: the working directory)"},
			boolFlag("for a user without privileges: the caller becomes root in a user namespace", "rootless"),
		},
		Action: writeSpec,
	}
}

func writeSpec(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	spec := exampleSpec()
	if c.Bool("rootless") {
		makeRootless(spec, uint32(unix.Geteuid()), uint32(unix.Getegid()))
	}
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(c.String("bundle"), specFile)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fault.FlagFailed.Of("--bundle", fmt.Errorf(compatSpecExists, specFile)) //nolint:staticcheck // a frozen text, capital and all
	}
	if err != nil {
		return fault.FlagFailed.Of("--bundle", err)
	}
	if _, err = file.Write(data); err == nil {
		err = file.Close()
	}
	if err != nil {
		_ = os.Remove(path) // half a file would be taken for a whole one
	}
	return fault.FlagFailed.Of("--bundle", err)
}

// exampleSpec is the content that users of `runc spec` edit by script: the same values
// in the same places as in the well-known runc.
func exampleSpec() *specs.Spec {
	capabilities := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Terminal: true,
			Args:     []string{"sh"},
			Env:      []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Cwd:      "/",
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
			},
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
			NoNewPrivileges: true,
		},
		Hostname: "runc",
		Mounts:   exampleMounts(),
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
			Namespaces: namespaces(specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace,
				specs.UTSNamespace, specs.MountNamespace),
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if unifiedCgroups() {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, namespaces(specs.CgroupNamespace)...)
	}
	return spec
}

func exampleMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{
			Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"},
		},
		{
			Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"},
		},
		{
			Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"},
		},
		{
			Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"},
		},
		{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
		},
	}
}

// makeRootless leaves out what an unprivileged user can't have, and maps that user to root.
func makeRootless(spec *specs.Spec, uid, gid uint32) {
	spec.Linux.Resources = nil
	kinds := []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace}
	if unifiedCgroups() {
		kinds = append(kinds, specs.CgroupNamespace)
	}
	// Without a network namespace of its own, the container keeps the host's network,
	// which no unprivileged user could connect it to.
	spec.Linux.Namespaces = namespaces(append(kinds, specs.UserNamespace)...)
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uid, Size: 1}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: gid, Size: 1}}
	for i := range spec.Mounts {
		switch m := &spec.Mounts[i]; m.Destination {
		case "/dev/pts":
			m.Options = m.Options[:len(m.Options)-1] // gid 5 is not mapped
		case "/sys":
			// sysfs may be mounted only by who owns the network namespace.
			m.Type, m.Source = "none", "/sys"
			m.Options = append([]string{"rbind"}, m.Options...)
		}
	}
}

func namespaces(kinds ...specs.LinuxNamespaceType) []specs.LinuxNamespace {
	var all []specs.LinuxNamespace
	for _, kind := range kinds {
		all = append(all, specs.LinuxNamespace{Type: kind})
	}
	return all
}

// unifiedCgroups reports whether the machine has cgroup v2 alone, where an own cgroup
// namespace keeps the host's tree out of sight.
func unifiedCgroups() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}
