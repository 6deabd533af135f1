package spec

import (
	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/host"
)

// CheckUpdate looks at what a client of an API version wants to change, as Check does for a create. It changes the
// request to what it means.
func CheckUpdate(version string, u *api.UpdateConfig, d Defaults, f host.Facts) (warnings []string, err error) {
	if before(version, "1.40") {
		u.PidsLimit = nil
	}
	if before(version, "1.55") {
		u.BlkioWeightDevice = nil
		u.BlkioDeviceReadBps, u.BlkioDeviceWriteBps = nil, nil
		u.BlkioDeviceReadIOps, u.BlkioDeviceWriteIOps = nil, nil
	}
	if u.PidsLimit != nil && *u.PidsLimit <= 0 {
		u.PidsLimit = new(int64)
	}
	hc := &api.HostConfig{Resources: u.Resources, RestartPolicy: u.RestartPolicy}
	warnings, err = checkHost(hc, d, f, true)
	u.Resources = hc.Resources
	return warnings, fault.As(errdefs.ErrInvalidArgument, err)
}

// Update is a container's HostConfig with the changes of a request in it. What is zero or nil stays as it is.
func Update(id string, old *api.HostConfig, u *api.UpdateConfig) (*api.HostConfig, error) {
	hc := *old
	if err := updatable(&hc, u); err != nil {
		return nil, fault.Errorf(errdefs.ErrConflict, "Cannot update container %s: %w", id, err)
	}
	r := &hc.Resources
	set(&r.BlkioWeight, u.BlkioWeight)
	set(&r.CPUShares, u.CPUShares)
	set(&r.NanoCPUs, u.NanoCPUs)
	set(&r.CPUPeriod, u.CPUPeriod)
	set(&r.CPUQuota, u.CPUQuota)
	set(&r.CPURealtimePeriod, u.CPURealtimePeriod)
	set(&r.CPURealtimeRuntime, u.CPURealtimeRuntime)
	set(&r.CpusetCpus, u.CpusetCpus)
	set(&r.CpusetMems, u.CpusetMems)
	set(&r.Memory, u.Memory)
	set(&r.MemorySwap, u.MemorySwap)
	set(&r.MemoryReservation, u.MemoryReservation)
	set(&r.PidsLimit, u.PidsLimit)
	setList(&r.BlkioWeightDevice, u.BlkioWeightDevice)
	setList(&r.BlkioDeviceReadBps, u.BlkioDeviceReadBps)
	setList(&r.BlkioDeviceWriteBps, u.BlkioDeviceWriteBps)
	setList(&r.BlkioDeviceReadIOps, u.BlkioDeviceReadIOps)
	setList(&r.BlkioDeviceWriteIOps, u.BlkioDeviceWriteIOps)
	if u.RestartPolicy.Name != "" {
		hc.RestartPolicy = u.RestartPolicy
	}
	return &hc, nil
}

// updatable says no to changes that contradict what is set already.
func updatable(old *api.HostConfig, u *api.UpdateConfig) error {
	for _, c := range []struct {
		clash bool
		text  string
	}{
		{u.NanoCPUs > 0 && old.CPUPeriod > 0, "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"},
		{u.NanoCPUs > 0 && old.CPUQuota > 0, "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"},
		{u.CPUPeriod > 0 && old.NanoCPUs > 0, "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"},
		{u.CPUQuota > 0 && old.NanoCPUs > 0, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"},
		{
			u.Memory != 0 && u.Memory > old.MemorySwap && u.MemorySwap == 0,
			"Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
		},
		{
			u.RestartPolicy.Name != "" && old.AutoRemove && !u.RestartPolicy.IsNone(),
			"Restart policy cannot be updated because AutoRemove is enabled for the container",
		},
	} {
		if c.clash {
			return fault.Errorf(errdefs.ErrConflict, "%s", c.text)
		}
	}
	return nil
}

// set changes a value that the request has.
func set[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}

func setList[T any](to *[]T, from []T) {
	if from != nil {
		*to = from
	}
}
