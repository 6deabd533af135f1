package networks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// asking is ports that get the same number: one for each address that they are published on.
type asking struct {
	ports []netkeeper.Port
	// first and last are the numbers to choose from; 0 for any.
	first, last uint16
}

// only says that no other number would do.
func (a asking) only() bool { return a.first != 0 && a.first == a.last }

// publish publishes what a container asks for, where its ways out are. With an error nothing is published.
func (s *Service) publish(ctx context.Context, c *container.Container, b *sandbox) (*sandbox, error) {
	all, err := s.asks(c, b)
	if err != nil || len(all) == 0 {
		return b, err
	}
	ports, err := s.bind(ctx, b, all)
	if err != nil {
		_, four, six := b.ways()
		e := four
		if e == nil {
			e = six
		}
		return nil, fault.Errorf(errdefs.ErrInternal, "driver failed programming external connectivity on endpoint %s (%s): %w", e.Container, e.ID, err)
	}
	published := *b
	published.Ports = ports
	if err := s.put(&published); err != nil {
		return nil, err
	}
	return &published, s.rules.apply(ctx)
}

// asks are the ports that a container wants published, in an order that does not change.
func (s *Service) asks(c *container.Container, b *sandbox) ([]asking, error) {
	_, four, six := b.ways()
	if four != nil && four.Driver != driverBridge {
		four = nil
	}
	if six != nil && six.Driver != driverBridge {
		six = nil
	}
	if four == nil && six == nil {
		return nil, nil
	}
	wanted := maps.Clone(c.HostConfig.PortBindings)
	if c.HostConfig.PublishAllPorts {
		if wanted == nil {
			wanted = network.PortMap{}
		}
		for p := range c.Config.ExposedPorts {
			if len(wanted[p]) == 0 {
				wanted[p] = []network.PortBinding{{}}
			}
		}
	}
	var list []asking
	for _, p := range slices.SortedFunc(maps.Keys(wanted), comparePorts) {
		for _, binding := range wanted[p] {
			a, err := s.ask(p, binding, four, six)
			if err != nil {
				return nil, err
			}
			if len(a.ports) > 0 {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

func comparePorts(a, b network.Port) int {
	return cmp.Or(strings.Compare(string(a.Proto()), string(b.Proto())), cmp.Compare(a.Num(), b.Num()))
}

// ask reads one binding. Without a host's address it is one of each family.
func (s *Service) ask(p network.Port, binding network.PortBinding, four, six *endpoint) (asking, error) {
	var a asking
	if binding.HostPort != "" {
		r, err := network.ParsePortRange(binding.HostPort)
		if err != nil {
			return a, fmt.Errorf("error parsing HostPort value(%s):%w", binding.HostPort, err)
		}
		a.first, a.last = r.Start(), r.End()
	}
	hosts := []netip.Addr{binding.HostIP.Unmap()}
	if !binding.HostIP.IsValid() {
		hosts = s.bindings(four, six)
	}
	for _, host := range hosts {
		to := four
		if host.Is6() && six != nil {
			to = six
		}
		if to == nil || host.Is6() && !haveIPv6() {
			continue
		}
		// Without an IPv6 way out, what comes by IPv6 goes to the IPv4 address.
		address := to.IPv4.Addr()
		if to == six && host.Is6() {
			address = to.IPv6.Addr()
		}
		a.ports = append(a.ports, netkeeper.Port{
			Protocol: string(p.Proto()), Host: netip.AddrPortFrom(host, 0), Container: netip.AddrPortFrom(address, p.Num()),
		})
	}
	return a, nil
}

// bindings are the addresses of who names none: all, or those that the network's options say.
func (s *Service) bindings(four, six *endpoint) []netip.Addr {
	e := four
	if e == nil {
		e = six
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.byID(e.Network)
	if n != nil && n.bridge.bind.IsValid() && n.bridge.bind != netip.IPv4Unspecified() {
		return []netip.Addr{n.bridge.bind}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

func haveIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// attempts is how often another number is tried for who wants any.
const attempts = 10

// bind has ports held, one group after the other. A failure holds none.
func (s *Service) bind(ctx context.Context, b *sandbox, all []asking) (list []netkeeper.Port, err error) {
	defer func() {
		if err != nil && len(all) > 0 {
			s.giveBack(ctx, b.Container)
		}
	}()
	for _, a := range all {
		ports, err := s.bindGroup(ctx, b.Container, a)
		if err != nil {
			return nil, err
		}
		list = append(list, ports...)
	}
	return list, nil
}

// bindGroup finds a number for a group. Where there is a choice, one that another program has is passed over.
func (s *Service) bindGroup(ctx context.Context, container string, a asking) ([]netkeeper.Port, error) {
	passed := map[uint16]bool{}
	for try := 1; ; try++ {
		ports, err := s.ports.choose(container, a, passed)
		if err != nil {
			return nil, s.whose(err)
		}
		if s.o.Publisher == nil {
			return ports, nil
		}
		published, err := s.o.Publisher.Publish(ctx, container, ports...)
		if err == nil {
			return published, nil
		}
		if _, used := errors.AsType[*netkeeper.InUseError](err); !used {
			return nil, err
		}
		if a.only() || a.first == 0 && try == attempts {
			return nil, fmt.Errorf("failed to bind host port %w", err)
		}
		s.ports.drop(container, ports)
		passed[ports[0].Host.Port()] = true
	}
}

// whose says by which container a port is allocated. Clients know the words before.
func (s *Service) whose(err error) error {
	a, ok := errors.AsType[*allocatedError](err)
	if !ok {
		return err
	}
	name := a.by
	if c, err := s.o.Records.Get(a.by); err == nil {
		name = c.Name
	}
	return fmt.Errorf("%w by container %s", err, strings.TrimPrefix(name, "/"))
}

// hold has ports held that a sandbox has from before.
func (s *Service) hold(ctx context.Context, b *sandbox) {
	if s.o.Publisher == nil {
		return
	}
	for rest := b.Ports; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Protocol == rest[0].Protocol && rest[n].Host.Port() == rest[0].Host.Port() {
			n++
		}
		if _, err := s.o.Publisher.Publish(ctx, b.Container, rest[:n]...); err != nil {
			slog.Error("a port of a running container is published no more", "container", b.Container, "port", rest[0].Host, "error", err)
		}
		rest = rest[n:]
	}
}

// giveBack gives all ports of a container back.
func (s *Service) giveBack(ctx context.Context, container string) {
	s.ports.release(container)
	if s.o.Publisher == nil {
		return
	}
	if err := s.o.Publisher.Unpublish(context.WithoutCancel(ctx), container); err != nil {
		slog.Error("ports of a container stay published", "container", container, "error", err)
	}
}

// unpublish gives a sandbox's ports back.
func (s *Service) unpublish(ctx context.Context, b *sandbox) {
	if len(b.Ports) > 0 {
		s.giveBack(ctx, b.Container)
	}
}

// ledger knows which ports have been given, and to whom.
type ledger struct {
	mu sync.Mutex
	// taken are addresses, and whose they are, by port and protocol.
	taken map[socket][]holding
	of    map[string][]netkeeper.Port
	// first and last are the kernel's range for who wants any; next is where the search goes on.
	first, last, next uint16
}

type socket struct {
	protocol string
	port     uint16
}

type holding struct {
	address   netip.Addr
	container string
}

// allocatedError is a port that another container has.
type allocatedError struct {
	host netip.AddrPort
	by   string
}

func (e *allocatedError) Error() string {
	return fmt.Sprintf("Bind for %s:%d failed: port is already allocated", e.host.Addr(), e.host.Port())
}

func newLedger() *ledger {
	l := &ledger{taken: map[socket][]holding{}, of: map[string][]netkeeper.Port{}, first: 49153, last: 65535}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first, last uint16
		if _, err := fmt.Sscan(string(b), &first, &last); err == nil && first <= last && first > 0 {
			l.first, l.last = first, last
		}
	}
	l.next = l.first
	return l
}

// choose gives a group its number.
func (l *ledger) choose(container string, a asking, passed map[uint16]bool) (list []netkeeper.Port, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, err := l.number(a, passed)
	if err != nil {
		return nil, err
	}
	for _, p := range a.ports {
		p.Host = netip.AddrPortFrom(p.Host.Addr(), number)
		list = append(list, p)
		l.add(container, p)
	}
	return list, nil
}

// number finds one that is free for all of its ports.
func (l *ledger) number(a asking, passed map[uint16]bool) (uint16, error) {
	if a.first != 0 {
		for n := int(a.first); n <= int(a.last); n++ {
			if !passed[uint16(n)] && l.free(a, uint16(n)) { //nolint:gosec // it is between two of them
				return uint16(n), nil //nolint:gosec // as above
			}
		}
		if a.only() {
			at, by := l.taker(a, a.first)
			return 0, &allocatedError{netip.AddrPortFrom(at, a.first), by}
		}
		return 0, errAllocated
	}
	for range int(l.last-l.first) + 1 {
		n := l.next
		l.next++
		if l.next > l.last || l.next == 0 {
			l.next = l.first
		}
		if !passed[n] && l.free(a, n) {
			return n, nil
		}
	}
	return 0, errAllocated
}

var errAllocated = errors.New("all ports are allocated")

func (l *ledger) free(a asking, n uint16) bool {
	at, _ := l.taker(a, n)
	return !at.IsValid()
}

// taker is an address on which a number is not free for a group, and whose it is. Of two families moby tells now one, now
// the other.
func (l *ledger) taker(a asking, n uint16) (at netip.Addr, container string) {
	for _, p := range a.ports {
		for _, other := range l.taken[socket{p.Protocol, n}] {
			mine := p.Host.Addr()
			if mine.Is4() == other.address.Is4() && (mine == other.address || mine.IsUnspecified() || other.address.IsUnspecified()) {
				at, container = mine, other.container
			}
		}
	}
	return at, container
}

func (l *ledger) add(container string, p netkeeper.Port) {
	k := socket{p.Protocol, p.Host.Port()}
	l.taken[k] = append(l.taken[k], holding{p.Host.Addr(), container})
	l.of[container] = append(l.of[container], p)
}

// claim notes ports that are published from before.
func (l *ledger) claim(container string, ports []netkeeper.Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ports {
		l.add(container, p)
	}
}

// drop gives some of a container's ports back.
func (l *ledger) drop(container string, ports []netkeeper.Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[container] = slices.DeleteFunc(l.of[container], func(p netkeeper.Port) bool { return slices.Contains(ports, p) })
	l.untake(container, ports)
}

// release gives all of a container's ports back.
func (l *ledger) release(container string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.untake(container, l.of[container])
	delete(l.of, container)
}

func (l *ledger) untake(container string, ports []netkeeper.Port) {
	for _, p := range ports {
		k := socket{p.Protocol, p.Host.Port()}
		list := l.taken[k]
		if i := slices.Index(list, holding{p.Host.Addr(), container}); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		l.taken[k] = list
		if len(list) == 0 {
			delete(l.taken, k)
		}
	}
}
