// Package redirect leads a container's questions for names to the sockets that answer them.
package redirect

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const tableName = "gantry-names"

// server is where containers ask for names; it is on their loopback device.
var server = netip.MustParseAddr("127.0.0.11")

const namesPort = 53

// Names sends what a container asks 127.0.0.11:53 to two ports of that address where somebody listens, and lets the answers
// come from port 53. netns is a descriptor of the container's network namespace. It replaces what an earlier call has
// written, in one transaction, and leaves the container's own tables alone.
func Names(netns int, udp, tcp uint16) error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(netns))
	if err != nil {
		return fmt.Errorf("redirecting names: %w", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	// Deleting has the kernel wait for those who still read, for milliseconds: a new container need not pay for it.
	_, err = conn.ListTableOfFamily(t.Name, t.Family)
	if err == nil {
		conn.DelTable(t)
	} else if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("redirecting names: %w", err)
	}
	conn.AddTable(t)
	accept := nftables.ChainPolicyAccept
	ask := conn.AddChain(&nftables.Chain{
		Table: t, Name: "ask", Type: nftables.ChainTypeNAT, Policy: &accept,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	answer := conn.AddChain(&nftables.Chain{
		Table: t, Name: "answer", Type: nftables.ChainTypeNAT, Policy: &accept,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, p := range []struct {
		protocol byte
		port     uint16
	}{{unix.IPPROTO_UDP, udp}, {unix.IPPROTO_TCP, tcp}} {
		conn.AddRule(&nftables.Rule{Table: t, Chain: ask, Exprs: append(
			match(toServer, p.protocol, namesPort),
			translate(expr.NATTypeDestNAT, p.port)...,
		)})
		conn.AddRule(&nftables.Rule{Table: t, Chain: answer, Exprs: append(
			match(fromServer, p.protocol, p.port),
			translate(expr.NATTypeSourceNAT, namesPort)...,
		)})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("redirecting names: %w", err)
	}
	return nil
}

// side is where an address and a port stand in a packet's headers.
type side struct{ address, port uint32 }

var (
	fromServer = side{address: 12, port: 0}
	toServer   = side{address: 16, port: 2}
)

// match is about packets with the server's address and a port at that side.
func match(s side, protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: s.address, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: server.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: s.port, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// translate gives the packet the server's address and another port.
func translate(kind expr.NATType, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: server.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}
