package attack

import (
	"net"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// notifyExec is a filter that asks the agent before each execve.
func notifyExec(agent string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		ListenerPath:  agent,
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"execve"}, Action: specs.ActNotify}},
	}
}

// holdSecond runs a seccomp agent that lets the process of every connection go on, that of
// the second one after a delay: it stands in execve until then.
func holdSecond(t *testing.T, delay time.Duration) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 1; ; n++ {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			fds := receive(conn)
			_ = conn.Close()
			for _, fd := range fds {
				go permit(fd, map[bool]time.Duration{true: delay}[n == 2])
			}
		}
	}()
	return socket
}

// receive takes the descriptors of one message.
func receive(conn *net.UnixConn) []int {
	data, oob := make([]byte, 1<<16), make([]byte, 1024)
	_, n, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return nil
	}
	fds, _ := unix.ParseUnixRights(&messages[0])
	return fds
}

// permit answers every question of a filter with "continue", seccomp_unotify(2).
func permit(fd int, delay time.Duration) {
	defer unix.Close(fd)
	for {
		var question [80]byte // struct seccomp_notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xc0502100, uintptr(unsafe.Pointer(&question))); errno != 0 {
			return
		}
		time.Sleep(delay)
		delay = 0
		var answer struct { // struct seccomp_notif_resp
			id    uint64
			value int64
			errno int32
			flags uint32
		}
		answer.id, answer.flags = *(*uint64)(unsafe.Pointer(&question)), 1
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xc0182101, uintptr(unsafe.Pointer(&answer)))
	}
}
