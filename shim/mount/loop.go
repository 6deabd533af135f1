package mount

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/api/types"
)

// loopTries is how often another loop device is taken because somebody was faster with the last one.
const loopTries = 100

// mountLoop mounts a file by way of a loop device, which goes with the mount (LO_FLAGS_AUTOCLEAR).
func mountLoop(m *types.Mount, at place, o *options) error {
	if i := slices.Index(o.data, "direct-io"); i >= 0 {
		o = o.withData(slices.Delete(slices.Clone(o.data), i, i+1))
		o.directIO = true
	}
	device, err := attachLoop(m.GetSource(), o)
	if err != nil {
		return err
	}
	// From here on the mount keeps the device.
	defer device.Close()
	return mountFS(device.Name(), m.GetType(), at, o)
}

// attachLoop makes a block device of a file (loop(4)).
func attachLoop(file string, o *options) (*os.File, error) {
	mode := os.O_RDWR
	config := unix.LoopConfig{Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	if o.flags&unix.MS_RDONLY != 0 {
		mode = os.O_RDONLY
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	if o.directIO {
		config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file)
	backing, err := unix.Open(file, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("loop: open %s: %w", file, err)
	}
	defer unix.Close(backing)
	config.Fd = uint32(backing)

	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("loop: open /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	for try := range loopTries {
		device, err := configureLoop(control, mode, &config)
		if err == nil {
			return device, nil
		}
		if err != unix.EBUSY {
			return nil, fmt.Errorf("loop: attach %s: %w", file, err)
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
	return nil, fmt.Errorf("loop: attach %s: other programs took %d devices: %w", file, loopTries, unix.EBUSY)
}

// configureLoop tries a device that is free, which it may no longer be then (EBUSY).
func configureLoop(control, mode int, config *unix.LoopConfig) (*os.File, error) {
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, err
	}
	name := "/dev/loop" + strconv.Itoa(n)
	fd, err := unix.Open(name, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlLoopConfigure(fd, config); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
