package nameserver

import (
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"
)

// maxUnread is how much of a connection is read before it was looked at.
const maxUnread = 64<<10 + 2

// stream is a TCP connection that carries messages, each after its length in two bytes.
type stream struct {
	fd      int
	in, out []byte
}

// put adds a message to what is sent.
func (s *stream) put(message []byte) {
	s.out = append(binary.BigEndian.AppendUint16(s.out, uint16(len(message))), message...)
}

// flush sends as much as the other side takes.
func (s *stream) flush() error {
	for len(s.out) > 0 {
		n, err := unix.SendmsgN(s.fd, s.out, nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			s.out = s.out[n:]
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
	s.out = nil
	return nil
}

// fill reads what is there, with a buffer that it does not keep.
func (s *stream) fill(buf []byte) error {
	for len(s.in) < maxUnread {
		n, err := unix.Read(s.fd, buf)
		switch {
		case n > 0:
			s.in = append(s.in, buf[:n]...)
		case err == unix.EAGAIN:
			return nil
		case err == nil:
			return io.EOF
		case err != unix.EINTR:
			return err
		}
	}
	return nil
}

// next takes the next message, if it is complete.
func (s *stream) next() (message []byte, ok bool) {
	if len(s.in) < 2 {
		return nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(s.in))
	if len(s.in) < end {
		return nil, false
	}
	message, s.in = s.in[2:end:end], s.in[end:]
	if len(s.in) == 0 {
		s.in = nil
	}
	return message, true
}
