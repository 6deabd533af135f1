// Package ports listens on published ports and relays to containers. All of it happens in one loop: a port that nobody
// uses costs its socket.
package ports

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gantry-containers/gantry/engine/poll"
)

// Port is a published port that the process listens on for a container.
type Port struct {
	// Protocol is tcp, udp or sctp. A port of sctp is held, and nothing is relayed.
	Protocol string
	// Host is where it listens. An unspecified address stands for all of its family; port 0 of a request for any free
	// one.
	Host netip.AddrPort
	// End is the last port of the range to choose from; 0 for only that of Host.
	End uint16
	// Container is where connections go.
	Container netip.AddrPort
}

// chosen says that the number is still to be chosen.
func (p Port) chosen() bool { return p.Host.Port() == 0 || p.End != 0 }

// Same says whether two are the same port of the host.
func (p Port) Same(other Port) bool { return p.Protocol == other.Protocol && p.Host == other.Host }

// Held is a port with who has it.
type Held struct {
	Port
	// Owner is the container.
	Owner string
}

// InUseError says that a port is taken.
type InUseError struct {
	Protocol string
	Host     netip.AddrPort
	// End is the last port of a range that is taken completely; 0 when there was one port to choose from.
	End uint16
	// Holder is the process that has it, as "name (pid 12)"; empty when that cannot be found out.
	Holder string
	// Container is the owner for whom this process has it.
	Container string
}

func (e *InUseError) Error() string {
	s := fmt.Sprintf("%s %s", e.Protocol, e.Host)
	if e.End != 0 {
		return fmt.Sprintf("%s-%d: all ports are in use", s, e.End)
	}
	s += ": address already in use"
	switch {
	case e.Container != "":
		s += " by container " + e.Container
	case e.Holder != "":
		s += " by " + e.Holder
	}
	return s
}

// Limits that tests make smaller.
const (
	idleLimit = 90 * time.Second // of what a client of UDP is remembered; as docker-proxy's
	dialLimit = 10 * time.Second
)

// Ports are all that are published. Everything in it belongs to the loop's lock.
type Ports struct {
	loop *poll.Loop
	held map[place]*binding
	// last is the number that was chosen last, by protocol.
	last  map[string]uint16
	pipes pipes
	idle  time.Duration
	dial  time.Duration
	sweep *time.Timer // nil while no client of UDP is remembered
}

// place is what only one can have.
type place struct {
	protocol string
	host     netip.AddrPort
}

// binding is one port.
type binding struct {
	p *Ports
	Held
	// call is the one that asked for it: asked again, it gets the same answer. index is its place in the request.
	call   string
	index  int
	fd     int
	relays map[*relay]struct{}
	peers  peers
}

// New has no ports.
func New(loop *poll.Loop) *Ports {
	return &Ports{loop: loop, held: map[place]*binding{}, last: map[string]uint16{}, idle: idleLimit, dial: dialLimit}
}

// Publish listens on ports, on all of them or none. Those whose number is to be chosen get the same one. It is
// idempotent: what the owner has already goes to the container that is named now; and a request whose number is to be
// chosen is known by the name of its call.
func (p *Ports) Publish(owner, call string, group []Port) ([]Port, error) {
	for i, port := range group {
		port, err := port.checked()
		if err != nil {
			return nil, err
		}
		group[i] = port
	}
	got, err := p.publish(owner, call, group)
	if e, ok := errors.AsType[*InUseError](err); ok && e.Container == "" && e.End == 0 {
		e.Holder = holder(e.Protocol, e.Host)
	}
	return got, err
}

func (p Port) checked() (Port, error) {
	switch {
	case p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "sctp":
		return p, fmt.Errorf("%q is not a protocol of ports", p.Protocol)
	case !p.Host.Addr().IsValid() || !p.Container.Addr().IsValid() || p.Container.Port() == 0:
		return p, fmt.Errorf("%s %s to %s: an address is missing", p.Protocol, p.Host, p.Container)
	case p.End != 0 && (p.Host.Port() == 0 || p.End < p.Host.Port()):
		return p, fmt.Errorf("%d-%d is not a range of ports", p.Host.Port(), p.End)
	}
	if p.End == p.Host.Port() {
		p.End = 0
	}
	p.Host = netip.AddrPortFrom(p.Host.Addr().Unmap(), p.Host.Port())
	p.Container = netip.AddrPortFrom(p.Container.Addr().Unmap(), p.Container.Port())
	return p, nil
}

func (p *Ports) publish(owner, call string, group []Port) ([]Port, error) {
	p.loop.Lock()
	defer p.loop.Unlock()
	if got := p.answered(owner, call); len(got) > 0 {
		return got, nil
	}
	first := slices.IndexFunc(group, Port.chosen)
	if first < 0 {
		return p.bind(owner, call, group, true)
	}
	for n := range p.numbers(group[first]) {
		got, err := p.bind(owner, call, numbered(group, n), false)
		if err == nil {
			p.last[group[first].Protocol] = n
			return got, nil
		}
		if e, ok := errors.AsType[*InUseError](err); !ok || e.Host.Port() != n {
			return nil, err
		}
	}
	asked := group[first]
	from, to := asked.bounds()
	return nil, &InUseError{Protocol: asked.Protocol, Host: netip.AddrPortFrom(asked.Host.Addr(), from), End: to}
}

// answered is what a call has got before.
func (p *Ports) answered(owner, call string) (got []Port) {
	if call == "" {
		return nil
	}
	var list []*binding
	for _, b := range p.held {
		if b.Owner == owner && b.call == call {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *binding) int { return cmp.Compare(a.index, b.index) })
	for _, b := range list {
		got = append(got, b.Port)
	}
	return got
}

// numbered is a group with its number chosen.
func numbered(group []Port, n uint16) []Port {
	list := slices.Clone(group)
	for i, port := range list {
		if port.chosen() {
			list[i].Host, list[i].End = netip.AddrPortFrom(port.Host.Addr(), n), 0
		}
	}
	return list
}

// bind takes all ports of a group or none. With again, what the owner has for the same port of its container is meant.
func (p *Ports) bind(owner, call string, group []Port, again bool) (_ []Port, err error) {
	var made []*binding
	defer func() {
		if err != nil {
			for _, b := range made {
				b.close()
			}
		}
	}()
	kept := map[*binding]Port{}
	for i, port := range group {
		switch other := p.at(port); {
		case other == nil:
			b := &binding{p: p, Held: Held{Port: port, Owner: owner}, call: call, index: i}
			if err := b.open(); err != nil {
				return nil, err
			}
			made = append(made, b)
			p.held[b.place()] = b
		case again && other.Owner == owner && other.Same(port) && other.Container.Port() == port.Container.Port():
			kept[other] = port
		default:
			return nil, &InUseError{Protocol: port.Protocol, Host: port.Host, Container: other.Owner}
		}
	}
	for b, port := range kept {
		b.move(port.Container)
	}
	return slices.Clone(group), nil
}

// move sends what comes from here on to another address of the container. What goes to the old one has ended.
func (b *binding) move(to netip.AddrPort) {
	if b.Container != to {
		b.Container = to
		b.hangUp()
	}
}

func (b *binding) place() place { return place{b.Protocol, b.Host} }

// at is the port that stands in the way of another.
func (p *Ports) at(port Port) *binding {
	if b := p.held[place{port.Protocol, port.Host}]; b != nil {
		return b
	}
	for _, b := range p.held {
		if b.Protocol == port.Protocol && b.Host.Port() == port.Host.Port() && overlap(b.Host.Addr(), port.Host.Addr()) {
			return b
		}
	}
	return nil
}

// overlap says whether two addresses have an address in common.
func overlap(a, b netip.Addr) bool {
	return a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// Unpublish ends ports of an owner, all without a list, and with them their connections.
func (p *Ports) Unpublish(owner string, ports []Port) {
	p.loop.Lock()
	defer p.loop.Unlock()
	for _, b := range p.held {
		if b.Owner == owner && (len(ports) == 0 || slices.ContainsFunc(ports, b.Same)) {
			b.close()
		}
	}
}

// List is all that is held, in order.
func (p *Ports) List() []Held {
	p.loop.Lock()
	defer p.loop.Unlock()
	list := make([]Held, 0, len(p.held))
	for _, b := range p.held {
		list = append(list, b.Held)
	}
	slices.SortFunc(list, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Protocol, b.Protocol), a.Host.Compare(b.Host))
	})
	return list
}

// close ends a port and its connections.
func (b *binding) close() {
	delete(b.p.held, b.place())
	b.p.loop.Close(b.fd)
	b.hangUp()
}

// hangUp ends all connections of a port.
func (b *binding) hangUp() {
	for r := range b.relays {
		r.close()
	}
	b.peers.closeAll(b.p.loop)
}
