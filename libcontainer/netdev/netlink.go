package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errMalformed says that a message from the kernel does not hold together.
var errMalformed = errors.New("malformed netlink message")

// Sizes of struct nlmsghdr, ifinfomsg, ifaddrmsg and rtattr, rtnetlink(7).
const (
	headerSize = 16
	linkSize   = 16
	addrSize   = 8
	attrSize   = 4
)

// conn is a netlink socket. It belongs to the network namespace in which it was made.
type conn struct {
	fd  int
	seq uint32
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &conn{fd: fd}, nil
}

// message is one to be sent, or the payload of one received.
type message struct {
	kind  uint16
	flags uint16
	body  []byte
}

// align rounds up to the four bytes that everything in netlink begins at.
func align(n int) int { return (n + 3) &^ 3 }

// attr appends an attribute.
func (m *message) attr(kind uint16, value []byte) {
	h := make([]byte, attrSize, align(attrSize+len(value)))
	binary.NativeEndian.PutUint16(h, uint16(attrSize+len(value)))
	binary.NativeEndian.PutUint16(h[2:], kind)
	m.body = append(m.body, append(h, value...)...)
	m.body = append(m.body, make([]byte, align(len(m.body))-len(m.body))...)
}

func (m *message) attrUint32(kind uint16, value uint32) {
	m.attr(kind, binary.NativeEndian.AppendUint32(nil, value))
}

// name appends an interface name, which the kernel wants with its NUL.
func (m *message) name(kind uint16, name string) { m.attr(kind, append([]byte(name), 0)) }

// attributes calls f for each attribute behind the first skip bytes.
func (m *message) attributes(skip int, f func(kind uint16, value []byte)) error {
	if len(m.body) < skip {
		return errMalformed
	}
	for b := m.body[skip:]; len(b) >= attrSize; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrSize || size > len(b) {
			return errMalformed
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[attrSize:size])
		b = b[min(align(size), len(b)):]
	}
	return nil
}

// request sends a message and collects the kernel's answer up to its end: an
// acknowledgement, an errno, or for a dump the last part.
func (c *conn) request(m *message) ([]message, error) {
	c.seq++
	b := make([]byte, headerSize, headerSize+len(m.body))
	binary.NativeEndian.PutUint32(b, uint32(headerSize+len(m.body)))
	binary.NativeEndian.PutUint16(b[4:], m.kind)
	binary.NativeEndian.PutUint16(b[6:], m.flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(b[8:], c.seq)
	if err := unix.Sendto(c.fd, append(b, m.body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var answer []message
	buf := make([]byte, 1<<16) // as large as a part of a dump gets
	for {
		n, from, err := unix.Recvfrom(c.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
			continue // any process of the namespace can send to the socket
		}
		done, err := c.parse(buf[:n], &answer)
		if done || err != nil {
			return answer, err
		}
	}
}

// parse takes a datagram apart. It copies what it keeps.
func (c *conn) parse(b []byte, answer *[]message) (done bool, err error) {
	for len(b) >= headerSize {
		size := int(binary.NativeEndian.Uint32(b))
		if size < headerSize || size > len(b) {
			return true, errMalformed
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[headerSize:size]
		ours := binary.NativeEndian.Uint32(b[8:]) == c.seq
		b = b[min(align(size), len(b)):]
		switch {
		case !ours: // of a request that was given up
		case kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE:
			if len(body) < 4 {
				return true, errMalformed
			}
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, unix.Errno(-code)
			}
			return true, nil
		default:
			*answer = append(*answer, message{kind: kind, body: append([]byte(nil), body...)})
		}
	}
	return false, nil
}
