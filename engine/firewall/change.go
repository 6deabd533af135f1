package firewall

import (
	"maps"
	"slices"

	"github.com/google/nftables"
)

// known is what the tables in the kernel were made of. A start or an end changes one network of maybe hundreds, so only
// that one's elements are made and compared.
type known struct {
	forwarding Families
	networks   map[string]Network
	// shared says that two networks have an element in common: whose it is then depends on all of them.
	shared bool
}

// know notes what has been written.
func (r Rules) know(want []content) known {
	k := known{forwarding: r.Forwarding, networks: make(map[string]Network, len(r.Networks))}
	for _, n := range r.Networks {
		k.networks[n.ID] = n
	}
	k.shared = len(k.networks) < len(r.Networks)
	for _, w := range want {
		for _, s := range w.sets {
			k.shared = k.shared || s.shared
		}
	}
	return k
}

// sorted has the networks' ports in an order that does not depend on the caller's.
func (r Rules) sorted() Rules {
	r.Networks = slices.Clone(r.Networks)
	for i := range r.Networks {
		if n := &r.Networks[i]; !slices.IsSortedFunc(n.Ports, ComparePorts) {
			n.Ports = slices.SortedFunc(slices.Values(n.Ports), ComparePorts)
		}
	}
	return r
}

// equal says whether two networks, whose ports are sorted, make the same elements.
func (n *Network) equal(other *Network) bool {
	return n.Bridge == other.Bridge && n.Internal == other.Internal && n.Isolated == other.Isolated &&
		n.IPv4.equal(other.IPv4) && n.IPv6.equal(other.IPv6) && slices.Equal(n.Ports, other.Ports)
}

func (f *Family) equal(other *Family) bool {
	return f == other || f != nil && other != nil && *f == *other
}

// changed are the networks that are other ones now: as they were, and as they are.
func (k known) changed(r Rules) (old, now Rules) {
	old.Forwarding, now.Forwarding = r.Forwarding, r.Forwarding
	gone := maps.Clone(k.networks)
	for i := range r.Networks {
		n := &r.Networks[i]
		was, ok := k.networks[n.ID]
		if ok && was.equal(n) {
			delete(gone, n.ID)
			continue
		}
		now.Networks = append(now.Networks, *n)
	}
	old.Networks = slices.Collect(maps.Values(gone))
	return old, now
}

// delta is how a set changes.
type delta struct {
	s           *set
	table       *nftables.Table
	gone, fresh map[string]string
}

// change prepares what the changed networks make different in the tables that stand in the kernel. It cannot (ok is
// false) when tables come or go, or networks share an element: then all of them have to be looked at.
func (n *nft) change(r Rules, next known) (deltas []delta, ok bool, err error) {
	if next.shared || n.known.forwarding != r.Forwarding || n.families() != r.used() {
		return nil, false, nil
	}
	before, after := n.known.changed(r)
	if len(before.Networks)+len(after.Networks) == 0 {
		return nil, true, nil
	}
	if n.known.shared {
		return nil, false, nil
	}
	for _, w := range n.last {
		ip6 := w.family == nftables.TableFamilyIPv6
		old, err := before.of(ip6)
		if err != nil {
			return nil, false, err
		}
		now, err := after.of(ip6)
		if err != nil {
			return nil, false, err
		}
		was, is := contents(old).list(), contents(now).list()
		t := &nftables.Table{Name: tableName, Family: w.family}
		for i, s := range w.sets {
			d := delta{s: s, table: t, gone: without(was[i].elements, is[i].elements), fresh: without(is[i].elements, was[i].elements)}
			if is[i].shared || s.has(d.fresh, d.gone) {
				return nil, false, nil
			}
			deltas = append(deltas, d)
		}
	}
	return deltas, true, nil
}

// has says whether one of some new elements is there already, and not because it is about to go.
func (s *set) has(fresh, gone map[string]string) bool {
	for key := range fresh {
		_, there := s.elements[key]
		if _, goes := gone[key]; there && !goes {
			return true
		}
	}
	return false
}

// used are the families that need a table.
func (r Rules) used() Families {
	used := r.Forwarding
	for _, n := range r.Networks {
		used.IPv4 = used.IPv4 || n.IPv4 != nil
		used.IPv6 = used.IPv6 || n.IPv6 != nil
	}
	return used
}

// families are those that have a table.
func (n *nft) families() (have Families) {
	for _, c := range n.last {
		have.IPv4 = have.IPv4 || c.family == nftables.TableFamilyIPv4
		have.IPv6 = have.IPv6 || c.family == nftables.TableFamilyIPv6
	}
	return have
}

// without are the elements of a that b does not have, or has with other data.
func without(a, b map[string]string) map[string]string {
	d := map[string]string{}
	for key, data := range a {
		if other, ok := b[key]; !ok || other != data {
			d[key] = data
		}
	}
	return d
}

// send prepares the messages of a change, and says whether there is any.
func (n *nft) send(d delta) bool {
	k := d.s.in(d.table)
	// Elements of maps lead to chains, never to one another: any order does, so long as a key is deleted before it is
	// added again.
	for part := range slices.Chunk(d.s.sorted(d.gone), perMessage) {
		_ = n.conn.SetDeleteElements(k, part)
	}
	for part := range slices.Chunk(d.s.sorted(d.fresh), perMessage) {
		_ = n.conn.SetAddElements(k, part)
	}
	return len(d.gone)+len(d.fresh) > 0
}

// done notes a change that has been written.
func (d delta) done() {
	for key := range d.gone {
		delete(d.s.elements, key)
	}
	maps.Copy(d.s.elements, d.fresh)
}

// sorted are elements in the order of their keys.
func (s *set) sorted(elements map[string]string) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, len(elements))
	for _, key := range slices.Sorted(maps.Keys(elements)) {
		list = append(list, s.element(key, elements[key]))
	}
	return list
}
