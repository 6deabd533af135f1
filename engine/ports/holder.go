package ports

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// holder names the process that has a port, as "name (pid 12)".
func holder(protocol string, host netip.AddrPort) string {
	dump := netlink.SocketDiagTCP
	switch protocol {
	case "udp":
		dump = netlink.SocketDiagUDP
	case "sctp":
		return ""
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := dump(family)
		if err != nil {
			continue
		}
		for _, s := range sockets {
			if s.ID.SourcePort != host.Port() || s.INode == 0 || protocol == "tcp" && s.State != netlink.TCP_LISTEN {
				continue
			}
			addr, _ := netip.AddrFromSlice(s.ID.Source)
			// A socket of IPv6 for all addresses may have those of IPv4, too.
			if !overlap(addr.Unmap(), host.Addr()) && addr != netip.IPv6Unspecified() {
				continue
			}
			if name := processWith(s.INode); name != "" {
				return name
			}
		}
	}
	return ""
}

// processWith names the process that has a socket open.
func processWith(inode uint32) string {
	want := fmt.Sprintf("socket:[%d]", inode)
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		if found, err := os.Readlink(link); err != nil || found != want {
			continue
		}
		dir, _, _ := strings.Cut(strings.TrimPrefix(link, "/proc/"), "/")
		name, err := os.ReadFile(filepath.Join("/proc", dir, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), dir)
	}
	return ""
}
