package networks_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/firewall"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// devices are none: it is noted what there would be.
type devices struct {
	mu         sync.Mutex
	bridges    map[string]bridge.Bridge
	links      map[string]bridge.Link // by namespace and name
	namespaces map[string]bool
	routes     map[string]bridge.Routes
	addresses  map[string][]netip.Prefix
	networks   []netip.Prefix
	lost       chan string
	// hold keeps a link from being removed until it is closed; fail lets attaching fail.
	hold chan struct{}
	fail error
	// broken are bridges that cannot be made.
	broken map[string]bool
	// steps are the namespaces that a builder has. It takes away one that is vanishing when it is to be kept.
	steps map[string]bool
	// lent are the inodes that were told of namespaces that processes keep.
	lent      map[string]uint64
	vanishing string
}

func newDevices() *devices {
	return &devices{
		bridges: map[string]bridge.Bridge{}, links: map[string]bridge.Link{}, namespaces: map[string]bool{}, routes: map[string]bridge.Routes{},
		addresses: map[string][]netip.Prefix{}, lost: make(chan string), broken: map[string]bool{},
		steps: map[string]bool{},
	}
}

func (d *devices) Ensure(b bridge.Bridge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken[b.Name] {
		return errors.New("broken")
	}
	d.bridges[b.Name] = b
	return nil
}

func (d *devices) EnsureParent(_ string, dummy bool) (bool, error) {
	return dummy, nil
}

func (d *devices) Probe(kind, _, _ string) error {
	if kind == bridge.IPvlan {
		return errors.New("the kernel of this machine has no ipvlan devices")
	}
	return nil
}

func (d *devices) Exists(name string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, there := d.bridges[name]
	return there || name == "eth0", nil
}

func (d *devices) Addresses(name string) ([]netip.Prefix, error) { return d.addresses[name], nil }

func (d *devices) Networks() ([]netip.Prefix, error) { return d.networks, nil }

func (d *devices) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.bridges, name)
	return nil
}

func (d *devices) RemoveStrays(_, known map[string]bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.links, func(_ string, l bridge.Link) bool { return !known[l.Host] })
	return nil
}

func (d *devices) Watch(ctx context.Context, lost func(string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-d.lost:
			lost(name)
		}
	}
}

func (d *devices) NewNamespace(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.namespaces[name] = true
	return d.Path(name), nil
}

func (d *devices) KeepNamespace(name, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if path == d.vanishing {
		delete(d.steps, path)
	}
	if path != "/proc/77/ns/net" && !d.steps[path] {
		return fmt.Errorf("%s is nobody's", path)
	}
	d.namespaces[name] = true
	return nil
}

// Lend refuses namespaces that are not there; a container's process is 77.
func (d *devices) Lend(name string, pid int) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.namespaces[name] || pid != 77 {
		return 0, fmt.Errorf("%s is not the namespace of %d", name, pid)
	}
	return inode, nil
}

// inode is that of every namespace which a process keeps.
const inode = 4026532000

func (d *devices) Lent(path string, inode uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lent == nil {
		d.lent = map[string]uint64{}
	}
	d.lent[path] = inode
}

func (d *devices) RemoveNamespace(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.namespaces, name)
	return nil
}

func (d *devices) Namespaces() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.namespaces)), nil
}

func (d *devices) BindHome(string) error { return nil }

func (d *devices) Lives(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps[path]
}

func (d *devices) Path(name string) string { return "/netns/" + name }

func (d *devices) Attach(ns string, routes bridge.Routes, links ...bridge.Link) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	for _, l := range links {
		d.links[ns+" "+l.Name] = l
	}
	if routes != (bridge.Routes{}) {
		d.routes[ns] = routes
	}
	return nil
}

func (d *devices) Route(ns string, routes bridge.Routes) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes[ns] = routes
	return nil
}

func (d *devices) Detach(ns string, l bridge.Link) error {
	if d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.links, ns+" "+l.Name)
	return nil
}

func (d *devices) Enslave(...bridge.Link) error { return nil }

// left tells what there is of containers.
func (d *devices) left() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(d.links)), slices.Sorted(maps.Keys(d.namespaces)))
}

// filter keeps what it was told last.
type filter struct {
	mu    sync.Mutex
	rules firewall.Rules
	times int
	fail  error
	check func()
}

// forward finds forwarding off, and turns it on.
func (f *filter) forward(ipv6 bool) (firewall.Families, error) {
	return firewall.Families{IPv4: true, IPv6: ipv6}, nil
}

func (f *filter) Apply(_ context.Context, r firewall.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times++
	f.rules = r
	f.check()
	return f.fail
}

// keeper holds ports and names in memory. Taken ports are another program's.
type keeper struct {
	mu    sync.Mutex
	ports map[string][]netkeeper.Port
	names map[string]netkeeper.Sandbox
	taken map[uint16]bool
}

func newKeeper() *keeper {
	return &keeper{ports: map[string][]netkeeper.Port{}, names: map[string]netkeeper.Sandbox{}, taken: map[uint16]bool{}}
}

func (k *keeper) Publish(_ context.Context, id string, group ...netkeeper.Port) ([]netkeeper.Port, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range group {
		if k.taken[p.Host.Port()] {
			return nil, &netkeeper.InUseError{Protocol: p.Protocol, Host: p.Host, Holder: "sshd (pid 12)"}
		}
	}
	k.ports[id] = append(k.ports[id], group...)
	return group, nil
}

func (k *keeper) Unpublish(_ context.Context, id string, _ ...netkeeper.Port) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ports, id)
	return nil
}

func (k *keeper) Answer(_ context.Context, s netkeeper.Sandbox) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names[s.ID] = s
	return nil
}

func (k *keeper) Forget(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.names, id)
	return nil
}

func (k *keeper) owners(context.Context) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(slices.Collect(maps.Keys(k.ports)), slices.Collect(maps.Keys(k.names))...), nil
}
