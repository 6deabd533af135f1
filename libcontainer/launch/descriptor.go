package launch

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// sendFD sends a descriptor as SCM_RIGHTS beside a text. The control message must hold a
// constant, so the descriptor is moved to a number that is free: above what the launch
// uses, below any usual RLIMIT_NOFILE.
func (w *lowering) sendFD(socket int, from slot, text string) {
	fixed := slices.Max(w.l.childFDs()) + w.preserve + 16
	w.call(unix.SYS_DUP3, from, fixed, unix.O_CLOEXEC)
	cmsg, cmsgAddr := w.arena.alloc(24)
	binary.NativeEndian.PutUint64(cmsg, 20)
	binary.NativeEndian.PutUint32(cmsg[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(cmsg[12:], unix.SCM_RIGHTS)
	binary.NativeEndian.PutUint32(cmsg[16:], uint32(fixed))
	iov := w.u64s(w.str(text), uint64(len(text)))
	msg := w.u64s(0, 0, iov, 1, cmsgAddr, 24, 0)
	w.call(unix.SYS_SENDMSG, socket, msg, unix.MSG_NOSIGNAL).atLeast(len(text))
	w.call(unix.SYS_CLOSE, fixed)
}

// handOver sends a descriptor to the runtime. pidfd_getfd(2) would do where the runtime has
// rights over the child; a rootless one has none (docs/decisions/0015).
func (w *lowering) handOver(from slot) { w.sendFD(w.l.handOver[1], from, "d") }

// handedOver ends an operation that hands over descriptors. A child that waits for `start`
// must not keep the socket, so the last one closes it.
func (w *lowering) handedOver() {
	if w.l.handOvers--; w.l.handOvers == 0 {
		w.call(unix.SYS_CLOSE, w.l.handOver[1])
	}
}

// openHandOver makes the socket that handOver writes to, once, for one more operation.
func (l *Launch) openHandOver() error {
	if l.handOvers++; l.handOvers > 1 {
		return nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.handOver = [2]int{l.keep(pair[0]), l.keep(pair[1])}
	return nil
}

// errNoDescriptor says that what the child sent is not what its program sends.
var errNoDescriptor = errors.New("no descriptor came from the child")

// received takes the next descriptor that the child has handed over; it has been sent
// before the barrier.
func (l *Launch) received() (int, error) {
	var text [1]byte
	var control [64]byte
	_, n, _, _, err := unix.Recvmsg(l.handOver[0], text[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, errNoDescriptor
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errNoDescriptor
	}
	return fds[0], nil
}
