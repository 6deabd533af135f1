package plan

import (
	"errors"
	"math"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// UpdateInput is everything that decides how the limits of a container change.
type UpdateInput struct {
	// Spec is config.json with what earlier updates made of it.
	Spec    *specs.Spec
	Changes *specs.LinuxResources
	Facts   *host.Facts // of Cgroup, the container's own hierarchies
	Now     Present
}

// Present are values that the kernel has now. They decide the order of writes that bound
// each other, and complete those that go together in one file.
type Present struct {
	MemoryLimit uint64 // v1; NoLimit without one
	MemoryUsage uint64 // v2
	Quota       int64  // µs; -1 without one
	Period      uint64 // µs
	RTPeriod    uint64 // v1, µs; 0 where the kernel has no real-time groups
	Idle        bool
}

// NoLimit is a limit that is not set.
const NoLimit = math.MaxUint64

// Update compiles a change of limits to the writes that bring it about, in an order that
// the kernel takes. Every write can be undone by writing what the file had before, in the
// reverse order. Device rules are replaced as a whole, and only if the new ones differ:
// engines send the old ones along with each update, and what a hook has allowed since then
// (a GPU) must not be lost by it (docs/decisions/0024).
func Update(in *UpdateInput) (*Plan, error) {
	u := &changeset{limits: limits{cgroup: &in.Facts.Cgroup}, now: in.Now}
	changes, merged := in.Changes, Merge(resourcesOf(in.Spec), in.Changes)
	u.pids(changes.Pids)
	if changes.Memory != nil {
		u.memory(changes.Memory, merged.Memory)
	}
	u.blockIO(changes.BlockIO)
	if changes.CPU != nil {
		u.cpu(changes.CPU, merged.CPU)
	}
	u.cpuset(changes.CPU)
	u.hugepages(changes.HugepageLimits)
	u.network(changes.Network)
	u.rdma(changes.Rdma)
	u.unified(changes.Unified)
	p := &Plan{}
	for i := range u.writes {
		p.add(Runtime, u.writes[i].Field, &u.writes[i].Write)
	}
	if err := updateDevices(p, in.Spec, merged); err != nil {
		u.errs = append(u.errs, err)
	}
	return p, errors.Join(u.errs...)
}

// updateDevices comes last: of everything else can be said beforehand whether the kernel
// takes it back.
func updateDevices(p *Plan, spec *specs.Spec, merged *specs.LinuxResources) error {
	old, err := deviceRules(spec)
	if err != nil {
		return err
	}
	rules, err := deviceRules(WithResources(spec, merged))
	if err != nil {
		return err
	}
	if !slices.Equal(old, rules) {
		p.add(Runtime, devicesField, &SetDevices{Rules: rules})
	}
	return nil
}

// WithResources is a config.json with other limits; the one given is not changed.
func WithResources(spec *specs.Spec, resources *specs.LinuxResources) *specs.Spec {
	s, linux := *spec, specs.Linux{}
	if spec.Linux != nil {
		linux = *spec.Linux
	}
	linux.Resources = resources
	s.Linux = &linux
	return &s
}

func resourcesOf(spec *specs.Spec) *specs.LinuxResources {
	if spec.Linux == nil {
		return nil
	}
	return spec.Linux.Resources
}

// changeset collects the writes of one update.
type changeset struct {
	limits
	now Present
}

// memory compiles the changes; merged is what they and the old limits come to.
func (u *changeset) memory(changes, merged *specs.LinuxMemory) {
	field := memoryAsked(changes)
	if changes.DisableOOMKiller != nil && field == "" {
		field = oomKillerField
	}
	if field == "" {
		return
	}
	h := u.find("memory", field)
	switch {
	case h == nil || !u.memoryValid(merged):
	case h.Unified():
		u.memoryOnV2(h, changes, merged)
	default:
		u.memoryOnV1(h, changes)
	}
}

// memoryOnV1 orders the two limits of Documentation/admin-guide/cgroup-v1/memory.rst: that
// of memory alone may at no time be above that of memory and swap.
func (u *changeset) memoryOnV1(h *host.Hierarchy, m *specs.LinuxMemory) {
	const memoryFile, bothFile = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	limit, swap := orZero(m.Limit), orZero(m.Swap)
	setMemory := func() { u.putSet(h, memoryLimitField, memoryFile, limit) }
	switch {
	case limit == -1 && swap == 0:
		u.try(h, memoryLimitField, bothFile, "-1")
		setMemory()
	case swap == -1 || swap > 0 && uint64(swap) >= u.now.MemoryLimit:
		u.putSet(h, memorySwapField, bothFile, swap)
		setMemory()
	default:
		setMemory()
		u.putSet(h, memorySwapField, bothFile, swap)
	}
	u.putSet(h, memoryReservationField, "memory.soft_limit_in_bytes", orZero(m.Reservation))
	if swappinessSet(m.Swappiness) {
		u.put(h, swappinessField, "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
	}
	if off := m.DisableOOMKiller; off != nil {
		value := "0"
		if *off {
			value = "1"
		}
		u.put(h, oomKillerField, "memory.oom_control", value)
	}
}

// memoryOnV2 computes the limit of swap alone anew when either of the two changes that it
// is the difference of.
func (u *changeset) memoryOnV2(h *host.Hierarchy, changes, merged *specs.LinuxMemory) {
	limit := orZero(changes.Limit)
	if flagSet(merged.CheckBeforeUpdate) && limit > 0 && uint64(limit) < u.now.MemoryUsage {
		u.refuse(memoryLimitField, "rejecting memory limit "+strconv.FormatInt(limit, 10)+
			" < usage "+strconv.FormatUint(u.now.MemoryUsage, 10))
		return
	}
	ask := *changes
	if limit != 0 || orZero(changes.Swap) != 0 {
		ask.Swap, ask.Limit = merged.Swap, merged.Limit
	}
	u.memoryV2(h, &ask)
}
