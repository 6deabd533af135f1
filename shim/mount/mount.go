package mount

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
)

// All mounts each of the list on target (or below it, where a mount names its own), in order. When one fails those
// before it are unmounted again. Errors begin with rootfs[i].
func All(mounts []*types.Mount, target string) error {
	var made []place
	for i, m := range mounts {
		at := place{root: target, sub: m.GetTarget()}
		fresh, err := one(m, at)
		if err != nil {
			for _, p := range slices.Backward(made) {
				p.pop()
			}
			return fmt.Errorf("rootfs[%d]: mount %s on %s: %w", i, m.GetType(), at, err)
		}
		if fresh {
			made = append(made, at)
		}
	}
	return nil
}

// one does what one mount of the list says, or nothing. Fresh tells that there is a mount more than before: a
// remount makes none.
func one(m *types.Mount, at place) (fresh bool, err error) {
	if helper, program := fuseHelper(m.GetType()); helper != "" {
		return true, mountFuse(helper, program, m, at)
	}
	o, err := parse(m.GetOptions())
	if err != nil {
		return false, err
	}
	fresh = o.flags&unix.MS_REMOUNT == 0
	switch {
	case !o.idmapped():
		err = plain(m, at, o)
	case !fresh:
		err = fmt.Errorf("options: uidmap in a remount: %w", unix.EINVAL)
	case m.GetType() == "overlay":
		err = mountMappedOverlay(m.GetSource(), at, o)
	default:
		if err = plain(m, at, o); err == nil {
			err = mapTop(at, o)
		}
	}
	if err != nil {
		return false, err
	}
	if err = finish(at, o); err != nil && fresh {
		at.pop()
	}
	return fresh, err
}

// plain is a mount, from a loop device where it is to be, before the owners are mapped.
func plain(m *types.Mount, at place, o *options) error {
	if o.loop {
		return mountLoop(m, at, o)
	}
	return mountFS(m.GetSource(), m.GetType(), at, o)
}

// mountFS is mount(2) for all that it does in one call.
func mountFS(source, fstype string, at place, o *options) error {
	var dir string
	if fstype == "overlay" && o.size() > maxData() {
		dir, o = compacted(o)
	}
	data := strings.Join(o.data, ",")
	if len(data) > maxData() {
		return fmt.Errorf("options: %d bytes, the kernel reads %d", len(data), maxData())
	}
	return at.with(func(target string) error {
		err := mountFrom(dir, func() error { return unix.Mount(source, target, fstype, o.flags, data) })
		return explained(err, source, fstype, dir, o)
	})
}

// finish does what mount(2) wants further calls for.
func finish(at place, o *options) error {
	if o.flags&unix.MS_BIND != 0 && o.flags&unix.MS_REMOUNT == 0 && (o.flags&perMount != 0 || o.cleared != 0) {
		if err := remountBind(at, o); err != nil {
			return fmt.Errorf("remount the bind: %w", err)
		}
	}
	if o.propagation != 0 {
		err := at.with(func(target string) error { return unix.Mount("", target, "", o.propagation, "") })
		if err != nil {
			return fmt.Errorf("change the propagation: %w", err)
		}
	}
	return nil
}

// remountBind gives a fresh bind mount the flags that the first call ignores. What the mount has from its source
// stays unless an option takes it away: in a user namespace it is locked (mount_namespaces(7)).
func remountBind(at place, o *options) error {
	return at.with(func(target string) error {
		var st unix.Statfs_t
		if err := unix.Statfs(target, &st); err != nil {
			return err
		}
		flags := mountFlags(st.Flags)&^o.cleared | o.flags
		return unix.Mount("", target, "", flags&^unix.MS_REC|unix.MS_REMOUNT, "")
	})
}
