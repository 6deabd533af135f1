package spec

import (
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/engine/fault"
)

// allCapabilities is the word for every capability in CapAdd and CapDrop.
const allCapabilities = "ALL"

// defaultCapabilities are what an ordinary container has.
var defaultCapabilities = []string{
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_FSETID",
	"CAP_FOWNER",
	"CAP_MKNOD",
	"CAP_NET_RAW",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETFCAP",
	"CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT",
	"CAP_KILL",
	"CAP_AUDIT_WRITE",
}

// knownCapabilities are those that any kernel has that we know of.
var knownCapabilities = func() map[string]bool {
	known := map[string]bool{}
	for _, c := range capability.ListKnown() {
		known["CAP_"+strings.ToUpper(c.String())] = true
	}
	return known
}()

// capabilities are what a container may have, of what this machine can give.
func capabilities(hc *api.HostConfig, available []string) ([]string, error) {
	if hc.Privileged {
		return slices.Clone(available), nil
	}
	add, err := normalCapabilities(hc.CapAdd, available)
	if err != nil {
		return nil, err
	}
	drop, err := normalCapabilities(hc.CapDrop, available)
	if err != nil {
		return nil, err
	}
	var caps []string
	switch {
	case slices.Contains(add, allCapabilities):
		// Dropping ALL beside it changes nothing: there is no capability of that name.
		caps = without(available, drop)
	case slices.Contains(drop, allCapabilities):
		caps = add
	default:
		caps = append(without(defaultCapabilities, drop), add...)
	}
	// Runtimes differ in what they do when asked for what cannot be granted.
	return slices.DeleteFunc(caps, func(c string) bool { return !slices.Contains(available, c) }), nil
}

func without(all, drop []string) []string {
	var left []string
	for _, c := range all {
		if !slices.Contains(drop, c) {
			left = append(left, c)
		}
	}
	return left
}

// normalCapabilities gives names their usual form, and refuses those that are unknown or cannot be granted here.
func normalCapabilities(names, available []string) ([]string, error) {
	var normal []string
	for _, n := range names {
		n = strings.ToUpper(n)
		if n != allCapabilities {
			if !strings.HasPrefix(n, "CAP_") {
				n = "CAP_" + n
			}
			if !knownCapabilities[n] {
				return nil, fault.Errorf(errdefs.ErrInvalidArgument, "unknown capability: %q", n)
			}
			if !slices.Contains(available, n) {
				return nil, fault.Errorf(errdefs.ErrInvalidArgument,
					"capability not supported by your kernel or not available in the current environment: %q", n)
			}
		}
		normal = append(normal, n)
	}
	return normal, nil
}

// granted is a set that the process has and its children can get by running set-uid programs, but which it does not
// hand on by itself.
func granted(caps []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Effective: slices.Clone(caps), Permitted: slices.Clone(caps)}
}
