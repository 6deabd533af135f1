package libcontainer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// hostMounts are the mounts that a container without a mount namespace gets: they are the
// host's, and have to go when it does not come to be.
type hostMounts struct {
	rootfs string
	before map[string]bool // ids of the mounts that were there
}

// watchHostMounts looks at what is mounted before a plan is carried out; nil if the plan
// mounts nothing on the host.
func watchHostMounts(p *plan.Plan, rootfs string) (*hostMounts, error) {
	made, moved := false, false
	for i := range p.Ops {
		switch p.Ops[i].Do.(type) {
		case *plan.MakeRoot:
			made = true
		case *plan.PivotRoot:
			moved = true
		}
	}
	if !made || moved {
		return nil, nil //nolint:nilnil // nothing to watch
	}
	mounts, err := host.Mounts()
	if err != nil {
		return nil, fault.LaunchFailed.Errorf("mountinfo: %w", err)
	}
	h := &hostMounts{rootfs: rootfs, before: make(map[string]bool, len(mounts))}
	for i := range mounts {
		h.before[mounts[i].ID] = true
	}
	return h, nil
}

// takeBack unmounts what has come since in the root file system or on it, the last first.
func (h *hostMounts) takeBack() error {
	if h == nil {
		return nil
	}
	mounts, err := host.Mounts()
	if err != nil {
		return fault.LaunchFailed.Errorf("mountinfo: %w", err)
	}
	var errs []error
	for i := range slices.Backward(mounts) {
		m := &mounts[i]
		if strings.HasPrefix(m.Point+"/", h.rootfs+"/") && !h.before[m.ID] {
			errs = append(errs, unmountAt(m.Point))
		}
	}
	return errors.Join(errs...)
}

// unmountAt unmounts what is at a path that no symlink leads to: the image may have put one there
// since.
func unmountAt(point string) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, point, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == nil {
		defer unix.Close(fd)
		err = unix.Unmount("/proc/self/fd/"+strconv.Itoa(fd), unix.MNT_DETACH)
	}
	if err != nil {
		return fault.LaunchFailed.Errorf("unmount %s: %w", point, fmt.Errorf("of a container that did not come to be: %w", err))
	}
	return nil
}
