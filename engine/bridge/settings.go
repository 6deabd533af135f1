package bridge

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// settings are the files of /proc/sys/net. Which namespace's they are is up to the thread that opens one.
//
// They are those of a procfs instance of their own (proc(5)): in the machine's, the kernel would find the names "ipv4" and
// "ipv6" among those of all namespaces of which somebody has asked, which takes it 2 ms with a thousand of them.
type settings struct{ proc *os.File }

// openSettings needs the right to mount; where that is missing, the machine's procfs does the same, if slower.
func openSettings() (settings, error) {
	if proc, err := mountProc(); err == nil {
		return settings{proc}, nil
	}
	proc, err := os.Open("/proc")
	return settings{proc}, err
}

// mountProc makes an instance of procfs that is nowhere in the file tree, and ends with its last descriptor.
func mountProc() (*os.File, error) {
	context, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen proc", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, os.NewSyscallError("fsconfig proc", err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount proc", err)
	}
	return os.NewFile(uintptr(fd), "/proc"), nil
}

func (s settings) close() error { return s.proc.Close() }

// write gives a file a new value.
func (s settings) write(file, value string) (err error) {
	path := filepath.Join("/proc/sys/net", file)
	fd, err := unix.Openat(int(s.proc.Fd()), filepath.Join("sys/net", file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteString(value)
	return err
}

// withoutIPv6 keeps a device from making itself an address, and routes.
func (s settings) withoutIPv6(device string) error {
	return orMissing(s.write(filepath.Join("ipv6/conf", device, "disable_ipv6"), "1"))
}

// orMissing leaves away that the kernel does not have a setting: one without IPv6 has none of those.
func orMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
