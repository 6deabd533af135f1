package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// open makes the socket and listens.
func (b *binding) open() error {
	fd, err := listen(b.Port)
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return &InUseError{Protocol: b.Protocol, Host: b.Host}
		}
		return fmt.Errorf("%s %s: %w", b.Protocol, b.Host, err)
	}
	return b.adopt(fd)
}

// adopt begins to serve a socket, which is closed when that fails.
func (b *binding) adopt(fd int) (err error) {
	b.fd = fd
	switch b.Protocol {
	case "tcp":
		b.relays = map[*relay]struct{}{}
		err = b.p.loop.Add(fd, unix.EPOLLIN, acceptor{b})
	case "udp":
		err = b.p.loop.Add(fd, unix.EPOLLIN, receiver{b})
	}
	if err != nil {
		unix.Close(fd)
	}
	return err
}

const nonblocking = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

// backlog is how many connections wait while this process is replaced.
const backlog = 4096

func listen(p Port) (int, error) {
	kind, number := unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch p.Protocol {
	case "udp":
		kind, number = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case "sctp":
		number = unix.IPPROTO_SCTP
	}
	to, family, err := sockaddr(p.Host)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, kind|nonblocking, number)
	if err != nil {
		if p.Protocol == "sctp" && errors.Is(err, unix.EPROTONOSUPPORT) {
			err = fmt.Errorf("the kernel has no SCTP (module sctp): %w", err)
		}
		return -1, os.NewSyscallError("socket", err)
	}
	if err := prepare(fd, family, p.Protocol); err != nil {
		unix.Close(fd)
		return -1, err
	}
	err = os.NewSyscallError("bind", unix.Bind(fd, to))
	if err == nil && p.Protocol != "udp" {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func prepare(fd, family int, protocol string) error {
	type option struct{ level, name, value int }
	var options []option
	if family == unix.AF_INET6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	switch {
	case protocol == "tcp":
		// Connections inherit these.
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1})
		options = append(options, option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, option{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15}, option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15})
	case protocol == "udp" && family == unix.AF_INET6:
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	case protocol == "udp":
		options = append(options, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// dial begins to connect to a container.
func dial(protocol string, to netip.AddrPort) (int, error) {
	kind := unix.SOCK_STREAM
	if protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	addr, family, err := sockaddr(to)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, kind|nonblocking, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if protocol == "tcp" {
		if err := prepare(fd, unix.AF_INET, protocol); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	if err := unix.Connect(fd, addr); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET, nil
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		device, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, 0, fmt.Errorf("device %s: %w", zone, err)
		}
		s.ZoneId = uint32(device.Index)
	}
	return s, unix.AF_INET6, nil
}
