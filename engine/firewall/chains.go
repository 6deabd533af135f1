package firewall

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chains that maps or other chains lead to.
const (
	chainWithin     = "within-network"
	chainProtected  = "enter-protected"
	chainRouted     = "enter-routed"
	chainPublish    = "publish"
	chainMasquerade = "hide-masquerade"
	chainSource     = "hide-source"
)

// chain is a chain with its rules. One with a hook is where packets come in.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   nftables.ChainPolicy
	rules    [][]expr.Any
}

// chains are those of a family's table. Chains without a hook come first: others lead to them.
func chains(v view) []chain {
	f := family{ip6: v.ip6}
	policy := nftables.ChainPolicyAccept
	if v.ours {
		policy = nftables.ChainPolicyDrop
	}
	return []chain{
		{name: chainWithin, rules: [][]expr.Any{
			rule(bridgeIn(setIsolated), drop),
			rule(accept),
		}},
		// What comes in for a container was sent to an address of the host (dnat): a packet that somebody routed to the
		// container's own address is not, so it is dropped even for published ports. A reply is what the container asked for.
		{name: chainProtected, rules: [][]expr.Any{
			rule(ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), ctReply, accept),
			rule(ctState(expr.CtStateBitRELATED), accept),
			rule(ctTranslated, f.destination(setPublished), accept),
			rule(drop),
		}},
		{name: chainRouted, rules: [][]expr.Any{
			rule(ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept),
			rule(f.icmp(), accept),
			rule(f.destination(setPublished), accept),
			rule(drop),
		}},
		{name: chainPublish, rules: f.publish()},
		{name: chainMasquerade, rules: [][]expr.Any{rule(expr1(&expr.Masq{}))}},
		{name: chainSource, rules: [][]expr.Any{rule(f.source())}},
		f.check(),
		{
			name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward,
			priority: nftables.ChainPriorityFilter, policy: policy,
			rules: [][]expr.Any{
				rule(within, to(chainWithin)),
				rule(bridgeIn(setInternal), drop),
				rule(meta(expr.MetaKeyOIFNAME, 1), verdict(mapEntering)),
				rule(bridgeIn(setBridges), accept),
			},
		},
		{
			name: "prerouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPrerouting,
			priority: nftables.ChainPriorityNATDest, policy: nftables.ChainPolicyAccept,
			rules: [][]expr.Any{rule(local, jump(chainPublish))},
		},
		{
			name: "output", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput,
			priority: nftables.ChainPriorityNATDest, policy: nftables.ChainPolicyAccept,
			rules: [][]expr.Any{rule(f.notTo(f.loopback()), local, jump(chainPublish))},
		},
		{
			name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting,
			priority: nftables.ChainPriorityNATSource, policy: nftables.ChainPolicyAccept,
			rules: [][]expr.Any{
				rule(within, accept),
				rule(f.from(), lookup(setSubnets), meta(expr.MetaKeyIIFNAME, 1), verdict(mapHiding)),
			},
		},
	}
}

// check drops what nobody may send: connections from addresses that are not the container's, router advertisements to the
// host, requests from outside for ports published on a loopback address.
func (f family) check() chain {
	c := chain{
		name: "check", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting,
		priority: nftables.ChainPriorityMangle, policy: nftables.ChainPolicyAccept,
	}
	if f.ip6 {
		c.rules = append(c.rules, rule(bridgeIn(setChecked), protocol(unix.IPPROTO_ICMPV6), icmpType(routerAdvertisement), drop))
	} else {
		c.rules = append(c.rules, rule(notFromLoopbackDevice, f.destination(setLoopback), drop))
	}
	c.rules = append(c.rules, rule(bridgeIn(setChecked), ctState(expr.CtStateBitNEW), f.notFrom(f.unnumbered()), noWayBack, drop))
	return c
}

// publish sends what came for a published port to its container.
func (f family) publish() [][]expr.Any {
	rules := [][]expr.Any{
		rule(meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyL4PROTO, reg(4)), portTo(reg(5)), lookup(setOwn), give),
	}
	if f.ip6 {
		// The container could not answer a link-local address.
		rules = append(rules, rule(f.isFrom(netip.MustParsePrefix("fe80::/10")), give))
	}
	return append(rules,
		rule(f.portKey(), value(mapPorts), f.translate()),
		rule(meta(expr.MetaKeyL4PROTO, reg(0)), portTo(reg(1)), value(mapPortsAny), f.translate()),
	)
}

// family builds what differs between families.
type family struct{ ip6 bool }

func (f family) loopback() netip.Prefix {
	if f.ip6 {
		return netip.MustParsePrefix("::1/128")
	}
	return netip.MustParsePrefix("127.0.0.0/8")
}

// unnumbered are the addresses of who does not have one yet.
func (f family) unnumbered() []netip.Prefix {
	if f.ip6 {
		return []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::/128")}
	}
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/32")}
}

func (f family) size() uint32 {
	if f.ip6 {
		return 16
	}
	return 4
}

func (f family) nfproto() uint32 {
	if f.ip6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// from and to load the addresses of a packet.
func (f family) from() []expr.Any {
	if f.ip6 {
		return header(expr.PayloadBaseNetworkHeader, 8, 16, 1)
	}
	return header(expr.PayloadBaseNetworkHeader, 12, 4, 1)
}

func (f family) to() []expr.Any {
	if f.ip6 {
		return header(expr.PayloadBaseNetworkHeader, 24, 16, 1)
	}
	return header(expr.PayloadBaseNetworkHeader, 16, 4, 1)
}

func (f family) compare(load []expr.Any, op expr.CmpOp, p netip.Prefix) []expr.Any {
	load = append([]expr.Any{}, load...)
	if p.Bits() < p.Addr().BitLen() {
		ones := netip.PrefixFrom(allOnes(f.ip6), p.Bits()).Masked().Addr()
		load = append(load, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.size(), Mask: ones.AsSlice(), Xor: make([]byte, f.size())})
	}
	return append(load, &expr.Cmp{Op: op, Register: 1, Data: p.Addr().AsSlice()})
}

func allOnes(ip6 bool) netip.Addr {
	if ip6 {
		return netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	return netip.MustParseAddr("255.255.255.255")
}

func (f family) isFrom(p netip.Prefix) []expr.Any { return f.compare(f.from(), expr.CmpOpEq, p) }

func (f family) notFrom(ps []netip.Prefix) []expr.Any {
	var all []expr.Any
	for _, p := range ps {
		all = append(all, f.compare(f.from(), expr.CmpOpNeq, p)...)
	}
	return all
}

func (f family) notTo(p netip.Prefix) []expr.Any { return f.compare(f.to(), expr.CmpOpNeq, p) }

// portKey loads "address . protocol . port" of where a packet goes.
func (f family) portKey() []expr.Any {
	n := f.size() / 4
	return rule(f.to(), meta(expr.MetaKeyL4PROTO, reg(n)), portTo(reg(n+1)))
}

func (f family) destination(set string) []expr.Any { return rule(f.portKey(), lookup(set)) }

// translate sends the packet to the address and port that a map gave.
func (f family) translate() []expr.Any {
	return expr1(&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nfproto(), RegAddrMin: 1, RegProtoMin: reg(f.size() / 4), Specified: true})
}

func (f family) source() []expr.Any {
	return rule(meta(expr.MetaKeyIIFNAME, 1), value(mapSources), expr1(&expr.NAT{Type: expr.NATTypeSourceNAT, Family: f.nfproto(), RegAddrMin: 1}))
}

func (f family) icmp() []expr.Any {
	if f.ip6 {
		return protocol(unix.IPPROTO_ICMPV6)
	}
	return protocol(unix.IPPROTO_ICMP)
}

// Parts of rules.

var (
	accept = expr1(&expr.Verdict{Kind: expr.VerdictAccept})
	drop   = expr1(&expr.Verdict{Kind: expr.VerdictDrop})
	give   = expr1(&expr.Verdict{Kind: expr.VerdictReturn})

	within = rule(meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyOIFNAME, 2), lookup(setWithin))

	ctReply      = rule(expr1(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}), expr1(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}))
	ctTranslated = rule(expr1(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}), bits(statusTranslated))

	// local: to an address of the host.
	local = rule(
		expr1(&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}),
		expr1(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}),
	)
	// noWayBack: an answer to the sender would not leave by the device on which the packet came.
	noWayBack = rule(
		expr1(&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true}),
		expr1(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)}),
	)
	notFromLoopbackDevice = rule(meta(expr.MetaKeyIIFNAME, 1), expr1(&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: keyName("lo")}))
)

const (
	// statusTranslated is IPS_DST_NAT of the kernel's nf_conntrack_common.h.
	statusTranslated    = 1 << 5
	routerAdvertisement = 134
)

// reg is the number of a register of four bytes; register 1 is the first four of them.
func reg(n uint32) uint32 { return unix.NFT_REG32_00 + n }

func expr1(e expr.Any) []expr.Any { return []expr.Any{e} }

func rule(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func meta(key expr.MetaKey, register uint32) []expr.Any {
	return expr1(&expr.Meta{Key: key, Register: register})
}

func header(base expr.PayloadBase, offset, size, register uint32) []expr.Any {
	return expr1(&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size})
}

func portTo(register uint32) []expr.Any {
	return header(expr.PayloadBaseTransportHeader, 2, 2, register)
}

func protocol(p byte) []expr.Any {
	return rule(meta(expr.MetaKeyL4PROTO, 1), expr1(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}))
}

func icmpType(t byte) []expr.Any {
	return rule(header(expr.PayloadBaseTransportHeader, 0, 1, 1), expr1(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{t}}))
}

func ctState(mask uint32) []expr.Any {
	return rule(expr1(&expr.Ct{Key: expr.CtKeySTATE, Register: 1}), bits(mask))
}

// bits matches when any bit of the mask is set in register 1.
func bits(mask uint32) []expr.Any {
	return rule(
		expr1(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)}),
		expr1(&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}),
	)
}

func lookup(set string) []expr.Any { return expr1(&expr.Lookup{SourceRegister: 1, SetName: set}) }

func value(m string) []expr.Any {
	return expr1(&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m})
}

func verdict(m string) []expr.Any {
	return expr1(&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: m})
}

func bridgeIn(set string) []expr.Any { return rule(meta(expr.MetaKeyIIFNAME, 1), lookup(set)) }

func to(chain string) []expr.Any {
	return expr1(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

func jump(chain string) []expr.Any {
	return expr1(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}
