package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Machine answers the questions of package spec whose answers may change at any time: devices and mounts.
type Machine struct{}

// Devices are all of /dev, as a privileged container gets them.
func (Machine) Devices() ([]specs.LinuxDevice, error) { return oci.HostDevices() }

// DevicesAt are the device at a path, through links, or those of a folder and below it. They get the path inside in
// place of the one here.
func (Machine) DevicesAt(path, inside string) ([]specs.LinuxDevice, error) {
	at := path
	if r, err := filepath.EvalSymlinks(path); err == nil { //nolint:forbidigo // the client names a path of the host, and may name any
		at = r
	}
	d, err := oci.DeviceFromPath(at)
	if err == nil {
		d.Path = inside
		return []specs.LinuxDevice{*d}, nil
	}
	var all []specs.LinuxDevice
	if errors.Is(err, oci.ErrNotADevice) {
		all = devicesBelow(at, inside)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("error gathering device information while adding custom device %q: %w", path, err)
	}
	return all, nil
}

// devicesBelow walks a folder. What cannot be read there is no device for us.
func devicesBelow(dir, inside string) []specs.LinuxDevice {
	var all []specs.LinuxDevice
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		if d, err := oci.DeviceFromPath(path); err == nil {
			d.Path = inside + strings.TrimPrefix(path, dir)
			all = append(all, *d)
		}
		return nil
	})
	return all
}

// DeviceNumber is the number of the device at a path, through links.
func (Machine) DeviceNumber(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}

// Propagation finds the mount that a path is on, and says whether mounts below it are shared with others, or come from
// others.
func (Machine) Propagation(path string) (mountpoint string, shared, slave bool, err error) {
	at, err := filepath.EvalSymlinks(path) //nolint:forbidigo // only to find its mount; the runtime opens it itself
	if err != nil {
		return "", false, false, err
	}
	all, err := mountinfo.GetMounts(mountinfo.ParentsFilter(at))
	if err != nil {
		return "", false, false, err
	}
	var on *mountinfo.Info
	for _, m := range all {
		// Of several at one place the last one covers the others.
		if on == nil || len(m.Mountpoint) >= len(on.Mountpoint) {
			on = m
		}
	}
	if on == nil {
		return "", false, false, fmt.Errorf("no mount holds %s", path)
	}
	for opt := range strings.FieldsSeq(on.Optional) {
		shared = shared || strings.HasPrefix(opt, "shared:")
		slave = slave || strings.HasPrefix(opt, "master:")
	}
	return on.Mountpoint, shared, slave, nil
}

// Exists says whether there is something at a path.
func (Machine) Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
