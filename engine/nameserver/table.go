package nameserver

import (
	"net/netip"
	"slices"
	"strings"
)

// table is what names mean, by the id of the network: a look-up costs the same however many networks there are.
type table map[string]*network

// network is the names on one network.
type network struct {
	users   int
	names   map[string][]entry
	reverse map[netip.Addr]entry
}

// entry is what a sandbox has to say to a name, or to an address.
type entry struct {
	owner     string
	addresses []netip.Addr
	name      string
}

func (t table) add(s Sandbox) {
	for _, e := range s.Endpoints {
		n := t[e.Network]
		if n == nil {
			n = &network{names: map[string][]entry{}, reverse: map[netip.Addr]entry{}}
			t[e.Network] = n
		}
		n.users++
		for _, name := range e.names() {
			n.names[name] = append(n.names[name], entry{owner: s.ID, addresses: e.Addresses})
		}
		if len(e.Names) == 0 {
			continue
		}
		for _, a := range e.Addresses {
			n.reverse[a.Unmap()] = entry{owner: s.ID, name: e.Names[0] + "." + e.NetworkName}
		}
	}
}

func (t table) remove(s Sandbox) {
	for _, e := range s.Endpoints {
		n := t[e.Network]
		if n == nil {
			continue
		}
		ours := func(x entry) bool { return x.owner == s.ID }
		for _, name := range e.names() {
			// A new list: who looks at the old one still does.
			if rest := slices.DeleteFunc(slices.Clone(n.names[name]), ours); len(rest) > 0 {
				n.names[name] = rest
			} else {
				delete(n.names, name)
			}
		}
		for _, a := range e.Addresses {
			if n.reverse[a.Unmap()].owner == s.ID {
				delete(n.reverse, a.Unmap())
			}
		}
		if n.users--; n.users == 0 {
			delete(t, e.Network)
		}
	}
}

// names are those of an endpoint as they are looked up, each once.
func (e Endpoint) names() []string {
	var list []string
	for _, name := range e.Names {
		if name = strings.ToLower(name); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// find is what a name means to a sandbox, in both families, and whether it is ours. Names may be followed by that of the
// network, and both may have dots. The first network that knows the name answers.
func (t table) find(s Sandbox, name string) ([]netip.Addr, bool) {
	name = strings.ToLower(name)
	for on, at := "", len(name); at > 0; at = strings.LastIndexByte(name[:at], '.') {
		if at < len(name) {
			on = name[at+1:]
		}
		if found, ok := t.on(s, name[:at], on); ok {
			return found, true
		}
	}
	return nil, false
}

// on looks on the sandbox's networks, or on one of them that is named.
func (t table) on(s Sandbox, name, network string) ([]netip.Addr, bool) {
	for link, addresses := range s.Links {
		if network == "" && strings.EqualFold(link, name) {
			return addresses, true
		}
	}
	for _, e := range s.Endpoints {
		if network != "" && !strings.EqualFold(network, e.NetworkName) || t[e.Network] == nil {
			continue
		}
		var found []netip.Addr
		entries := t[e.Network].names[name]
		for _, x := range entries {
			for _, a := range x.addresses {
				if !slices.Contains(found, a.Unmap()) {
					found = append(found, a.Unmap())
				}
			}
		}
		if len(entries) > 0 {
			return found, true
		}
	}
	return nil, false
}

// name is what an address on one of a sandbox's networks is called; empty when it is not ours.
func (t table) name(s Sandbox, a netip.Addr) string {
	for _, e := range s.Endpoints {
		if n := t[e.Network]; n != nil {
			if x, ok := n.reverse[a]; ok {
				return x.name
			}
		}
	}
	return ""
}
