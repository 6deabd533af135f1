package cgroup

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// attrSize is what each attribute struct for bpf(2) is padded to. Linux 6.17 to
// 7.1 write past the end of a short one on BPF_PROG_QUERY; the kernel ignores
// zeros beyond what it knows.
const attrSize = 256

// maxPrograms is how many programs the kernel lets one cgroup have.
const maxPrograms = 64

// The fields of union bpf_attr that each command reads, bpf.h. Pointers are
// declared as such, so that they stay valid, which takes a 64-bit machine.
type (
	loadAttr struct {
		kind         uint32
		count        uint32
		instructions unsafe.Pointer
		license      unsafe.Pointer
		_            [attrSize - 24]byte
	}
	attachAttr struct {
		target, program, point, flags, replace uint32
		_                                      [attrSize - 20]byte
	}
	queryAttr struct {
		target, point, queryFlags, attachFlags uint32
		ids                                    unsafe.Pointer
		count                                  uint32
		_                                      [attrSize - 28]byte
	}
	idAttr struct {
		id uint32
		_  [attrSize - 4]byte
	}
)

// bpf is bpf(2) with an attribute struct of attrSize bytes.
func bpf(command uintptr, attr unsafe.Pointer) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), attrSize)
		// The verifier gives up with EAGAIN when a signal comes.
		if errno != unix.EINTR && errno != unix.EAGAIN {
			return int(n), errno
		}
	}
}

// bpfError names the command that the kernel refused.
func bpfError(command, dir string, errno unix.Errno) error {
	return &FileError{Op: "bpf " + command + " on", Path: dir, Err: errno}
}

// setDevicesV2 puts a program with the rules on the cgroup and takes the programs
// of earlier rules off: all programs must allow an access, so one left behind
// would keep its denials.
func (g *group) setDevicesV2(allow bool, exceptions []plan.DeviceRule) error {
	dir, err := open(g.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	var old []int
	if !g.fresh {
		if old, err = g.devicePrograms(dir); err != nil {
			return err
		}
	}
	defer closeAll(old)
	program, err := g.loadProgram(deviceProgram(allow, exceptions))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(program) }() // the cgroup keeps it
	if err := g.attachProgram(dir, program, old); err != nil {
		return err
	}
	g.fresh = false
	return nil
}

// loadProgram hands a program to the kernel's verifier.
func (g *group) loadProgram(instructions []instruction) (int, error) {
	// The license decides about helper functions, and the program calls none.
	license := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0}
	attr := loadAttr{
		kind:         unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		count:        uint32(len(instructions)),
		instructions: unsafe.Pointer(&instructions[0]),
		license:      unsafe.Pointer(&license),
	}
	fd, errno := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr))
	if errno != 0 {
		return -1, bpfError("PROG_LOAD", g.dir, errno)
	}
	return fd, nil
}

// attachProgram adds program to the cgroup, in the place of a single old one, or
// before it takes several old ones off.
func (g *group) attachProgram(dir, program int, old []int) error {
	attr := attachAttr{
		target: uint32(dir), program: uint32(program),
		point: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI,
	}
	if len(old) == 1 {
		attr.flags |= unix.BPF_F_REPLACE
		attr.replace = uint32(old[0])
	}
	if _, errno := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr)); errno != 0 {
		return bpfError("PROG_ATTACH", g.dir, errno)
	}
	if len(old) == 1 {
		return nil
	}
	for _, fd := range old {
		attr := attachAttr{target: uint32(dir), program: uint32(fd), point: unix.BPF_CGROUP_DEVICE}
		if _, errno := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr)); errno != 0 {
			return bpfError("PROG_DETACH", g.dir, errno)
		}
	}
	return nil
}

// devicePrograms opens the device programs on the cgroup itself. One that a
// security module hides stays: it can only restrict further.
func (g *group) devicePrograms(dir int) ([]int, error) {
	var ids [maxPrograms]uint32
	attr := queryAttr{
		target: uint32(dir), point: unix.BPF_CGROUP_DEVICE,
		ids: unsafe.Pointer(&ids), count: maxPrograms,
	}
	if _, errno := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr)); errno != 0 {
		return nil, bpfError("PROG_QUERY", g.dir, errno)
	}
	var fds []int
	for _, id := range ids[:min(attr.count, maxPrograms)] {
		byID := idAttr{id: id}
		fd, errno := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID))
		if errno != 0 {
			if denied(errno) || errors.Is(errno, unix.ENOENT) {
				continue
			}
			closeAll(fds)
			return nil, bpfError("PROG_GET_FD_BY_ID", g.dir, errno)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// closeAll closes the descriptors; -1 stands for none.
func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
