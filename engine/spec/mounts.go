package spec

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	sysmount "github.com/moby/sys/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/container"
)

// mounts are all that a container sees beside its root, in the order in which they are made, and the propagation that
// its root needs for them.
func mounts(in *Input, opts security) (all []specs.Mount, rootPropagation string, err error) {
	user, err := userMounts(in)
	if err != nil {
		return nil, "", err
	}
	taken := map[string]bool{}
	for _, m := range user {
		taken[m.Destination] = true
	}
	all = engineMounts(in, taken)
	if in.Container.HostConfig.ReadonlyRootfs {
		protect(all)
	}
	for _, m := range user {
		one := m.Mount
		if m.Type == "bind" {
			p, err := propagation(in.Machine, &m, rootPropagation)
			if err != nil {
				return nil, "", err
			}
			rootPropagation = p
		}
		all = append(all, one)
	}
	openPrivileged(all, in.Container.HostConfig.Privileged, opts.writableCgroups)
	return all, rootPropagation, nil
}

// userMount is a mount that was asked for; the default of its place goes away.
type userMount struct {
	specs.Mount
	propagation mount.Propagation
	// chosen says that the client named the propagation.
	chosen bool
}

// engineMounts are the usual ones, and the program of --init.
func engineMounts(in *Input, taken map[string]bool) []specs.Mount {
	hc := in.Container.HostConfig
	usual := defaultMounts()
	if usesInit(in) {
		usual = append(usual, specs.Mount{Destination: initInside, Type: "bind", Source: initPath(in), Options: []string{"bind", "ro"}})
	}
	var kept []specs.Mount
	for _, m := range usual {
		if taken[m.Destination] || taken["/dev"] && strings.HasPrefix(m.Destination, "/dev/") {
			continue
		}
		if m.Destination == "/dev/shm" {
			if hc.IpcMode.IsNone() {
				continue
			}
			m.Options = append(m.Options, "size="+strconv.FormatInt(hc.ShmSize, 10))
		}
		kept = append(kept, m)
	}
	return kept
}

// protect makes the usual mounts read-only as the root is, but for those that programs cannot do without.
func protect(usual []specs.Mount) {
	for i := range usual {
		switch usual[i].Destination {
		case "/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev":
			continue
		}
		if !slices.Contains(usual[i].Options, "ro") {
			usual[i].Options = append(usual[i].Options, "ro")
		}
	}
}

// openPrivileged lets privileged containers write to /sys and to cgroups; cgroups also whom an option lets.
func openPrivileged(all []specs.Mount, privileged bool, writableCgroups *bool) {
	cgroups := privileged
	if writableCgroups != nil {
		cgroups = *writableCgroups
	}
	for i := range all {
		if privileged && all[i].Destination == "/sys" || cgroups && all[i].Type == "cgroup" {
			all[i].Options = slices.DeleteFunc(slices.Clone(all[i].Options), func(o string) bool { return o == "ro" })
		}
	}
}

// userMounts are what was asked for and what the engine puts over files of the image, parents before what is in them.
func userMounts(in *Input) ([]userMount, error) {
	hc := in.Container.HostConfig
	var all []userMount
	have := map[string]bool{}
	for _, m := range in.Mounts {
		if _, short := hc.Tmpfs[m.Destination]; short && m.Type == mount.TypeTmpfs {
			continue // Comes from HostConfig.Tmpfs, with its options, below.
		}
		um, err := userMountOf(in, m)
		if err != nil {
			return nil, err
		}
		have[m.Destination] = true
		all = append(all, um)
	}
	for _, dest := range sortedKeys(hc.Tmpfs) {
		m, err := tmpfs(dest, hc.Tmpfs[dest])
		if err != nil {
			return nil, err
		}
		have[dest] = true
		all = append(all, userMount{Mount: m})
	}
	for _, f := range []struct{ source, dest string }{
		{in.ResolvConf, "/etc/resolv.conf"}, {in.HostnameFile, "/etc/hostname"}, {in.Hosts, "/etc/hosts"},
	} {
		if f.source != "" && !have[f.dest] {
			all = append(all, engineBind(in, f.source, f.dest, !hc.ReadonlyRootfs))
		}
	}
	if in.ShmPath != "" && !have["/dev/shm"] {
		all = append(all, engineBind(in, in.ShmPath, "/dev/shm", true))
	}
	slices.SortStableFunc(all, func(a, b userMount) int { return byDepth(a.Destination, b.Destination) })
	return all, nil
}

// engineBind is a mount of the engine's own files.
func engineBind(in *Input, source, dest string, writable bool) userMount {
	m, p := bind(source, dest, bindMode{readOnly: !writable, recursive: recursiveReadOnly(in) == nil})
	return userMount{Mount: m, propagation: p}
}

// byDepth orders what has fewer parents first: it may be a parent of the other.
func byDepth(a, b string) int {
	a, b = path.Clean(a), path.Clean(b)
	return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
}

func userMountOf(in *Input, m container.Mount) (userMount, error) {
	if m.Type == mount.TypeTmpfs {
		options, err := tmpfsOptions(m.Spec.TmpfsOptions, m.Spec.ReadOnly || !m.RW)
		if err != nil {
			return userMount{}, err
		}
		t, err := tmpfs(m.Destination, options)
		return userMount{Mount: t}, err
	}
	mode := bindMode{propagation: m.Propagation, readOnly: !m.RW}
	var chosen bool
	if o := m.Spec.BindOptions; o != nil {
		chosen = o.Propagation != ""
		mode.alone = o.NonRecursive
		if err := checkRecursive(o, mode.readOnly); err != nil {
			return userMount{}, err
		}
	}
	if mode.readOnly {
		err := recursiveReadOnly(in)
		if o := m.Spec.BindOptions; o != nil {
			if o.ReadOnlyForceRecursive && err != nil {
				return userMount{}, err
			}
			mode.recursive = err == nil && !o.ReadOnlyNonRecursive
		} else {
			mode.recursive = err == nil
		}
	}
	b, p := bind(m.Source, m.Destination, mode)
	return userMount{Mount: b, propagation: p, chosen: chosen}, nil
}

// checkRecursive says no to options that cannot go together.
func checkRecursive(o *mount.BindOptions, readOnly bool) error {
	switch {
	case !readOnly && o.ReadOnlyNonRecursive:
		return errors.New("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
	case !readOnly && o.ReadOnlyForceRecursive:
		return errors.New("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
	case o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive:
		return errors.New("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")
	}
	return nil
}

// recursiveReadOnly says why mounts below a read-only one cannot be made read-only, too; nil when they can.
func recursiveReadOnly(in *Input) error {
	runtime := in.Container.HostConfig.Runtime
	switch {
	case !in.Facts.RecursiveReadOnly:
		return errors.New("rro is not supported: function not implemented (kernel is older than 5.12?)")
	case in.Features == nil:
		return fmt.Errorf("rro is not supported by runtime %q: OCI features struct is not available", runtime)
	case !slices.Contains(in.Features.MountOptions, "rro"):
		return fmt.Errorf("rro is not supported by runtime %q", runtime)
	}
	return nil
}

type bindMode struct {
	propagation mount.Propagation
	// alone leaves out the mounts below the source.
	alone bool
	// recursive makes mounts below read-only, too.
	readOnly, recursive bool
}

func bind(source, dest string, mode bindMode) (specs.Mount, mount.Propagation) {
	if mode.propagation == "" {
		mode.propagation = mount.PropagationRPrivate
	}
	options := []string{"rbind"}
	if mode.alone {
		options[0] = "bind"
	}
	if mode.readOnly {
		if mode.recursive {
			options = append(options, "rro")
		} else {
			options = append(options, "ro")
		}
	}
	options = append(options, string(mode.propagation))
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: options}, mode.propagation
}

// propagation is what the root must have so that a mount can have its own: mounts that are shared cannot pass a private
// root. The mount's source must be on a mount that is shared itself.
func propagation(machine Machine, m *userMount, root string) (string, error) {
	switch m.propagation {
	case mount.PropagationShared, mount.PropagationRShared:
		on, shared, _, err := machine.Propagation(m.Source)
		if err != nil {
			return "", err
		}
		if !shared {
			return "", fmt.Errorf("path %s is mounted on %s but it is not a shared mount", m.Source, on)
		}
		if root != string(mount.PropagationRShared) {
			root = string(mount.PropagationShared)
		}
	case mount.PropagationSlave, mount.PropagationRSlave:
		on, shared, slave, err := machine.Propagation(m.Source)
		if err == nil && !shared && !slave {
			err = fmt.Errorf("path %s is mounted on %s but it is not a shared or slave mount", m.Source, on)
		}
		if err != nil {
			if m.chosen {
				return "", err
			}
			// The engine chose it for a source around its own root, so that it does not hold its mounts: private does, too.
			return root, nil
		}
		if root == "" {
			root = string(mount.PropagationRSlave)
		}
	default:
		// Private mounts can be on any root.
	}
	return root, nil
}

// tmpfs is an empty file system; options are those of --tmpfs ("size=1m,mode=700").
func tmpfs(dest, options string) (specs.Mount, error) {
	all := []string{"noexec", "nosuid", "nodev", string(mount.PropagationRPrivate)}
	if options != "" {
		all = append(all, strings.Split(options, ",")...)
	}
	merged, err := sysmount.MergeTmpfsOptions(all)
	if err != nil {
		return specs.Mount{}, err
	}
	return specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs", Options: merged}, nil
}

// tmpfsOptions turns those of --mount type=tmpfs into those of --tmpfs.
func tmpfsOptions(o *mount.TmpfsOptions, readOnly bool) (string, error) {
	var all []string
	if readOnly {
		all = append(all, "ro")
	}
	if o == nil {
		return strings.Join(all, ","), nil
	}
	if o.Mode != 0 {
		all = append(all, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		all = append(all, "size="+shortSize(o.SizeBytes))
	}
	for _, opt := range o.Options {
		if len(opt) < 1 || len(opt) > 2 {
			return "", errors.New("invalid option array length")
		}
		if opt[0] != "exec" && opt[0] != "noexec" {
			return "", errors.New("invalid option: " + opt[0])
		}
		all = append(all, strings.Join(opt, "="))
	}
	return strings.Join(all, ","), nil
}

// shortSize writes bytes with the largest unit that divides them.
func shortSize(n int64) string {
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"g", 30}, {"m", 20}, {"k", 10}} {
		if n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// SharedShm says whether the container's /dev/shm is a folder that others can join, which the caller then mounts with
// the options, and gives to Build as ShmPath.
func SharedShm(hc *api.HostConfig) (options string, shared bool) {
	return "mode=1777,size=" + strconv.FormatInt(hc.ShmSize, 10), hc.IpcMode.IsShareable() || hc.IpcMode.IsEmpty()
}
