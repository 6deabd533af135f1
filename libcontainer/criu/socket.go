package criu

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxMessage is more than CRIU ever sends: the longest part is an error's text.
const maxMessage = 64 << 10

// errHungUp tells that CRIU closed its end of the connection.
const errHungUp = constError("criu: connection closed")

// constError is an error that needs no work at program start.
type constError string

func (e constError) Error() string { return string(e) }

func send(socket int, m message) error {
	for {
		err := unix.Sendmsg(socket, m, nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EPIPE || err == unix.ECONNRESET:
			return errHungUp
		case err != nil:
			return fmt.Errorf("criu: send: %w", err)
		default:
			return nil
		}
	}
}

// receive returns a message and the descriptor that came with it, -1 without one.
func receive(socket int) (*Response, int, error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || err == nil && n == 0:
			return nil, -1, errHungUp
		case err != nil:
			return nil, -1, fmt.Errorf("criu: receive: %w", err)
		}
		fd, err := passedFD(oob[:oobn])
		if err == nil && flags&unix.MSG_TRUNC != 0 {
			err = unix.EMSGSIZE
		}
		var resp *Response
		if err == nil {
			resp, err = decode(buf[:n])
		}
		if err != nil {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			return nil, -1, fmt.Errorf("criu: receive: %w", err)
		}
		return resp, fd, nil
	}
}
