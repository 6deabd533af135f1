package root_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two calls of seccomp_unotify(2) that a listener needs.

// notification is struct seccomp_notif.
type notification struct {
	id         uint64
	pid, flags uint32
	data       [64]byte // struct seccomp_data
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const (
	ioctlReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
)

func receiveCall(fd int) (id uint64, err error) {
	var n notification
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlReceive, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return 0, errno
	}
	return n.id, nil
}

func refuseCall(fd int, id uint64, errno unix.Errno) error {
	r := response{id: id, errno: -int32(errno)}
	if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlSend, uintptr(unsafe.Pointer(&r))); err != 0 {
		return err
	}
	return nil
}
