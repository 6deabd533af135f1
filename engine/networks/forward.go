package networks

import (
	"log/slog"
	"os"
	"strings"
)

// ipForward is the kernel's switch in the engine's network namespace, a variable for tests.
var ipForward = "/proc/sys/net/ipv4/ip_forward"

// Forwards says whether IPv4 packets are forwarded between networks.
func Forwards() bool {
	b, err := os.ReadFile(ipForward)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// forward turns forwarding on, if that is wanted. Where we did it, the rules that come next keep strangers' packets out,
// unless the administrator looks after that.
func (s *Service) forward(ipv6 bool) {
	d := s.o.Defaults()
	if !d.IPForward || s.o.Forward == nil {
		return
	}
	ours, err := s.o.Forward(ipv6)
	if err != nil {
		slog.Error("packets are not forwarded", "error", err)
	}
	if d.NoForwardDrop {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forwarding.IPv4 = s.forwarding.IPv4 || ours.IPv4
	s.forwarding.IPv6 = s.forwarding.IPv6 || ours.IPv6
}
