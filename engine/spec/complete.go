package spec

import (
	"errors"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/selinux/go-selinux"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/host"
)

// complete fills in what a request left open; inspect shows it.
func complete(hc *api.HostConfig, d Defaults, f host.Facts) {
	if hc.Memory > 0 && hc.MemorySwap == 0 {
		hc.MemorySwap = hc.Memory * 2
	}
	if hc.ShmSize == 0 {
		if hc.ShmSize = d.ShmSize; hc.ShmSize == 0 {
			hc.ShmSize = defaultShmSize
		}
	}
	if hc.IpcMode.IsEmpty() {
		if hc.IpcMode = api.IpcMode(d.IpcMode); hc.IpcMode.IsEmpty() {
			hc.IpcMode = api.IPCModePrivate
		}
	}
	if hc.CgroupnsMode.IsEmpty() {
		hc.CgroupnsMode = cgroupnsMode(hc, d, f)
	}
	if (hc.IpcMode.IsHost() || hc.PidMode.IsHost() || hc.Privileged) && !labelled(hc) {
		for _, o := range selinux.DisableSecOpt() {
			hc.SecurityOpt = append(hc.SecurityOpt, "label="+o)
		}
	}
	if hc.OomKillDisable == nil {
		hc.OomKillDisable = new(bool)
	}
	completePaths(hc, f)
}

// completePaths tells in the container's settings what is hidden and protected: clients see it in inspect.
func completePaths(hc *api.HostConfig, f host.Facts) {
	if hc.Privileged {
		return
	}
	if hc.MaskedPaths == nil {
		hc.MaskedPaths = slices.Concat(maskedPaths, f.ThermalThrottle)
	}
	if hc.ReadonlyPaths == nil {
		hc.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
}

func cgroupnsMode(hc *api.HostConfig, d Defaults, f host.Facts) api.CgroupnsMode {
	switch {
	case hc.Privileged && !f.CgroupV2:
		return api.CgroupnsModeHost
	case d.CgroupnsMode != "":
		return api.CgroupnsMode(d.CgroupnsMode)
	case f.CgroupV2:
		return api.CgroupnsModePrivate
	}
	return api.CgroupnsModeHost
}

// labelled says that the client chose SELinux labels itself.
func labelled(hc *api.HostConfig) bool {
	return slices.ContainsFunc(hc.SecurityOpt, func(o string) bool {
		name, _, _ := strings.Cut(o, "=")
		return name == "label"
	})
}

// Share completes what a request takes from other containers: it puts their ids for their names, so that a rename does
// not part them, and their SELinux labels when namespaces are shared.
func Share(hc *api.HostConfig, find func(ref string) (*container.Container, error)) error {
	const of = "container:"
	id := func(ref string) (string, bool) {
		if ref == "" {
			return "", false
		}
		c, err := find(ref)
		if err != nil {
			return "", false // Said when it starts: it may be there by then.
		}
		return of + c.ID, true
	}
	if mode, ok := id(hc.PidMode.Container()); ok {
		hc.PidMode = api.PidMode(mode)
	}
	if mode, ok := id(hc.IpcMode.Container()); ok {
		hc.IpcMode = api.IpcMode(mode)
	}
	if mode, ok := id(hc.NetworkMode.ConnectedContainer()); ok {
		hc.NetworkMode = api.NetworkMode(mode)
	}
	if labelled(hc) || hc.IpcMode.IsHost() || hc.PidMode.IsHost() || hc.Privileged {
		return nil
	}
	labels, err := sharedLabels(hc, find)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	for _, l := range labels {
		hc.SecurityOpt = append(hc.SecurityOpt, "label="+l)
	}
	return nil
}

// sharedLabels are those of the containers whose ipc and pid namespaces are joined, which must have the same.
func sharedLabels(hc *api.HostConfig, find func(string) (*container.Container, error)) ([]string, error) {
	var labels []string
	var first bool
	for _, ref := range []string{hc.IpcMode.Container(), hc.PidMode.Container()} {
		if ref == "" {
			continue
		}
		c, err := find(ref)
		if err != nil {
			return nil, err
		}
		l, err := selinux.DupSecOpt(c.ProcessLabel)
		if err != nil {
			return nil, err
		}
		if first && labels != nil && l != nil && !slices.Equal(labels, l) {
			return nil, errors.New("--ipc and --pid containers SELinux labels aren't the same")
		}
		labels, first = l, true
	}
	return labels, nil
}
