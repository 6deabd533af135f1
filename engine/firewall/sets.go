package firewall

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules of a table never change: all that depends on networks and ports is in sets and maps, so a packet costs the
// same few look-ups with one network or with two hundred, and a change writes only the elements that differ.
const (
	// setWithin has "bridge . bridge": traffic that stays on a network.
	setWithin = "within"
	// setIsolated has bridges whose containers do not reach one another.
	setIsolated = "isolated"
	// setInternal has bridges that nothing leaves.
	setInternal = "internal"
	// setBridges has all bridges.
	setBridges = "bridges"
	// mapEntering says what happens to packets that go to a bridge from elsewhere.
	mapEntering = "entering"
	// setPublished has "container's address . protocol . port".
	setPublished = "published"
	// setChecked has bridges from which only containers' own addresses are believed.
	setChecked = "checked"
	// setOwn has "bridge . protocol . port": a network's own ports, left to the process that listens on them.
	setOwn = "own"
	// mapPorts and mapPortsAny say where published ports go: by "host's address . protocol . port", and for any address.
	mapPorts    = "ports"
	mapPortsAny = "ports-any"
	// setLoopback has ports published on loopback addresses, which nobody outside may ask for.
	setLoopback = "loopback"
	// mapHiding says how containers' addresses are hidden; setSubnets has the addresses, mapSources what hides them.
	mapHiding  = "hiding"
	setSubnets = "subnets"
	mapSources = "sources"
)

// set is a set or a map. Its elements are data by key, as the bytes that the kernel is given; verdicts have names.
type set struct {
	name      string
	key, data nftables.SetDatatype
	isMap     bool
	interval  bool
	elements  map[string]string
	// shared says that two networks have an element in common; owner tells whose each is, while they are put together.
	shared bool
	owner  map[string]string
}

func (s *set) add(network string, key []byte, data ...byte) {
	s.put(network, string(key), string(data))
}

// put adds an element. Of two networks that publish the same port, the first in their order has it.
func (s *set) put(network, key, data string) {
	if owner, ok := s.owner[key]; ok {
		s.shared = s.shared || owner != network
		return
	}
	s.elements[key], s.owner[key] = data, network
}

// addRange adds a prefix to a set of intervals: its first address, and the first behind it.
func (s *set) addRange(network string, p netip.Prefix) {
	first, end := bounds(p)
	s.put(network, string(first.AsSlice())+intervalStart, "")
	if end.IsValid() {
		s.put(network, string(end.AsSlice())+intervalEnd, "")
	}
}

// Both may be at the same address.
const (
	intervalStart = "["
	intervalEnd   = ")"
)

// element is one as the library wants it.
func (s *set) element(key, data string) nftables.SetElement {
	if s.interval {
		end := len(key) - 1
		return nftables.SetElement{Key: []byte(key[:end]), IntervalEnd: key[end:] == intervalEnd}
	}
	e := nftables.SetElement{Key: []byte(key)}
	switch {
	case s.data.Name == nftables.TypeVerdict.Name:
		e.VerdictData = verdicts[data]
	case s.isMap:
		e.Val = []byte(data)
	}
	return e
}

// verdicts are those that maps give, by the name of the chain or the verdict.
var verdicts = map[string]*expr.Verdict{
	"accept":        {Kind: expr.VerdictAccept},
	"drop":          {Kind: expr.VerdictDrop},
	chainProtected:  {Kind: expr.VerdictGoto, Chain: chainProtected},
	chainRouted:     {Kind: expr.VerdictGoto, Chain: chainRouted},
	chainMasquerade: {Kind: expr.VerdictGoto, Chain: chainMasquerade},
	chainSource:     {Kind: expr.VerdictGoto, Chain: chainSource},
}

// tableSets are the sets of a table.
type tableSets struct {
	within, isolated, internal, bridges, entering, published, checked, own, ports, portsAny, loopback, hiding, subnets, sources set
}

// list has them in the order in which they are made.
func (s *tableSets) list() []*set {
	return []*set{
		&s.within, &s.isolated, &s.internal, &s.bridges, &s.entering, &s.published, &s.checked, &s.own, &s.ports, &s.portsAny, &s.loopback,
		&s.hiding, &s.subnets, &s.sources,
	}
}

// contents are the sets for one family.
func contents(v view) *tableSets {
	addr := nftables.TypeIPAddr
	if v.ip6 {
		addr = nftables.TypeIP6Addr
	}
	concat := nftables.MustConcatSetType
	name, proto, port := nftables.TypeIFName, nftables.TypeInetProto, nftables.TypeInetService
	to := concat(addr, port)
	all := &tableSets{
		within:    set{name: setWithin, key: concat(name, name)},
		isolated:  set{name: setIsolated, key: name},
		internal:  set{name: setInternal, key: name},
		bridges:   set{name: setBridges, key: name},
		entering:  set{name: mapEntering, key: name, data: nftables.TypeVerdict, isMap: true},
		published: set{name: setPublished, key: concat(addr, proto, port)},
		checked:   set{name: setChecked, key: name},
		own:       set{name: setOwn, key: concat(name, proto, port)},
		ports:     set{name: mapPorts, key: concat(addr, proto, port), data: to, isMap: true},
		portsAny:  set{name: mapPortsAny, key: concat(proto, port), data: to, isMap: true},
		loopback:  set{name: setLoopback, key: concat(addr, proto, port)},
		hiding:    set{name: mapHiding, key: name, data: nftables.TypeVerdict, isMap: true},
		subnets:   set{name: setSubnets, key: addr, interval: true},
		sources:   set{name: mapSources, key: name, data: addr, isMap: true},
	}
	for _, s := range all.list() {
		s.elements, s.owner = map[string]string{}, map[string]string{}
	}
	for _, n := range v.networks {
		all.addNetwork(n)
		all.addPorts(n)
	}
	for _, s := range all.list() {
		s.owner = nil
	}
	return all
}

func (s *tableSets) addNetwork(n familyNetwork) {
	bridge := keyName(n.Bridge)
	s.within.add(n.ID, join(bridge, bridge))
	s.bridges.add(n.ID, bridge)
	if n.Isolated {
		s.isolated.add(n.ID, bridge)
	}
	if n.Mode != ModeIsolated {
		s.checked.add(n.ID, bridge)
	}
	if n.closed() {
		s.internal.add(n.ID, bridge)
	}
	s.entering.add(n.ID, bridge, []byte(entering(n))...)
	if n.closed() || n.Mode == ModeRouted || !n.Masquerade {
		return
	}
	s.subnets.addRange(n.ID, n.Subnet)
	if n.Source.IsValid() {
		s.hiding.add(n.ID, bridge, []byte(chainSource)...)
		s.sources.add(n.ID, bridge, n.Source.Unmap().AsSlice()...)
		return
	}
	s.hiding.add(n.ID, bridge, []byte(chainMasquerade)...)
}

// entering is the verdict on packets from elsewhere.
func entering(n familyNetwork) string {
	switch {
	case n.closed():
		return "drop"
	case n.Mode == ModeUnprotected:
		return "accept"
	case n.Mode == ModeRouted:
		return chainRouted
	}
	return chainProtected
}

func (s *tableSets) addPorts(n familyNetwork) {
	if n.closed() {
		return
	}
	for _, p := range n.Ports {
		s.published.add(n.ID, keyPort(p.Protocol, p.Container))
		if h := p.Host.Addr().Unmap(); p.Host.Port() != 0 && h.Is4() && h.IsLoopback() {
			s.loopback.add(n.ID, keyPort(p.Protocol, p.Host))
		}
	}
	bridge := keyName(n.Bridge)
	for _, p := range n.translated() {
		local := join(keyProtocol(p.Protocol), keyNumber(p.Host.Port()))
		s.own.add(n.ID, join(bridge, local))
		to := join(p.Container.Addr().Unmap().AsSlice(), keyNumber(p.Container.Port()))
		if p.Host.Addr().IsUnspecified() {
			s.portsAny.add(n.ID, local, to...)
			continue
		}
		s.ports.add(n.ID, keyPort(p.Protocol, p.Host), to...)
	}
}

// bounds are the first address of a prefix and the first behind it, invalid behind the last of all.
func bounds(p netip.Prefix) (first, end netip.Addr) {
	first = p.Masked().Addr()
	last := first.AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return first, a.Next()
}

// Fields of a key fill whole registers of four bytes.

func keyName(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }

func keyNumber(port uint16) []byte { return []byte{byte(port >> 8), byte(port), 0, 0} }

func keyProtocol(p string) []byte { return []byte{protocols[p], 0, 0, 0} }

func keyPort(protocol string, a netip.AddrPort) []byte {
	return join(a.Addr().Unmap().AsSlice(), keyProtocol(protocol), keyNumber(a.Port()))
}

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func join(fields ...[]byte) []byte {
	var k []byte
	for _, f := range fields {
		k = append(k, f...)
	}
	return k
}
