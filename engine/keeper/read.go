package keeper

import (
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readSize is how much is read at once: half of what a FIFO holds.
const readSize = 32 << 10

// buffers are borrowed only while there is something to read: idle streams have none.
var buffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// past is a deadline that ends whatever waits.
var past = time.Unix(1, 0)

// borrowRead waits for bytes and reads them into a borrowed buffer, which is nil when there are none. No bytes and no
// error are the end; atEnd says whether a read of zero bytes is that.
func borrowRead(raw syscall.RawConn, atEnd func(fd int) bool) (buf *[]byte, n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		b, _ := buffers.Get().(*[]byte)
		for {
			if n, err = unix.Read(int(fd), *b); err != unix.EINTR {
				break
			}
		}
		if n > 0 {
			buf = b
			return true
		}
		buffers.Put(b)
		n = 0
		if err == unix.EAGAIN || err == nil && !atEnd(int(fd)) {
			err = nil
			return false
		}
		return true
	})
	if waited != nil {
		return nil, 0, waited
	}
	return buf, n, err
}

// polled says whether one of some events stands on a descriptor.
func polled(fd int, events int16) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&events != 0
}
