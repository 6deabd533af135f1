package networks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/firewall"
	"github.com/gantry-containers/gantry/engine/ipam"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// Records are the containers that there are. *container.Store is it.
type Records interface {
	Get(ref string) (*container.Container, error)
	List() []*container.Container
	// Dir is the folder for the files that are bound into a container.
	Dir(id string) string
	// Lock makes the caller the only one who works on a container.
	Lock(id string) (unlock func())
	Update(id string, change func(*container.Container) error) (*container.Container, error)
}

// Events is told what happens.
type Events interface {
	Publish(kind events.Type, action events.Action, id string, attributes map[string]string)
}

// Devices makes what networks are made of. *bridge.Devices is it.
type Devices interface {
	Ensure(b bridge.Bridge) error
	EnsureParent(name string, dummy bool) (made bool, err error)
	Probe(kind, parent, mode string) error
	Exists(name string) (bool, error)
	Addresses(name string) ([]netip.Prefix, error)
	Networks() ([]netip.Prefix, error)
	Remove(name string) error
	RemoveStrays(bridges, known map[string]bool) error
	Watch(ctx context.Context, lost func(name string))
	Namespaces
	Links
}

// Namespaces are the network namespaces of containers, by the names of their files.
type Namespaces interface {
	NewNamespace(name string) (path string, err error)
	// KeepNamespace gives one that there is a file.
	KeepNamespace(name, path string) error
	// Lend has a process keep one, whose inode it tells; Lent says so of one from before.
	Lend(name string, pid int) (inode uint64, err error)
	Lent(path string, inode uint64)
	RemoveNamespace(name string) error
	Namespaces() ([]string, error)
	BindHome(name string) error
	// Lives says that a file is a namespace, whoever made it.
	Lives(path string) bool
	Path(name string) string
}

// Links lead into them.
type Links interface {
	Attach(namespace string, routes bridge.Routes, links ...bridge.Link) error
	Route(namespace string, routes bridge.Routes) error
	Detach(namespace string, l bridge.Link) error
	Enslave(links ...bridge.Link) error
}

// Filter is the packet filter. Firewall's back ends are such.
type Filter interface {
	Apply(context.Context, firewall.Rules) error
}

// Publisher holds published ports for containers. The client of netkeeper is it.
type Publisher interface {
	// Publish takes all ports of a group or none, under one number. Those that are taken by somebody are a
	// netkeeper.InUseError.
	Publish(ctx context.Context, container string, group ...netkeeper.Port) ([]netkeeper.Port, error)
	// Unpublish gives ports back, all of a container's when none is named.
	Unpublish(ctx context.Context, container string, list ...netkeeper.Port) error
}

// Names answers questions for names. The client of netkeeper does.
type Names interface {
	Answer(context.Context, netkeeper.Sandbox) error
	Forget(ctx context.Context, container string) error
}

// Options are what the service works with.
type Options struct {
	// Dir keeps a record for each network; Run what only lives as long as the machine runs.
	Dir, Run string
	Records  Records
	Events   Events
	Devices  Devices
	// Filter, Publisher and Names may be nil: then nothing of it is done.
	Filter    Filter
	Publisher Publisher
	Names     Names
	// Forward turns forwarding on, and tells for which families we did so; nil leaves it as it is.
	Forward func(ipv6 bool) (firewall.Families, error)
	// Owners are the containers for which ports are held or names answered, also from engines before; nil for none.
	Owners func(context.Context) ([]string, error)
	// Defaults is asked each time: it changes by reloads.
	Defaults func() *config.Network
}

// Service gives containers their networks.
type Service struct {
	o     Options
	space *ipam.Space
	rules *ruler
	ports *ledger

	mu sync.RWMutex
	// all are the networks in the order of their making; none of them changes, they are replaced.
	all []*known
	// sandboxes are the network stacks of containers, by the containers' ids. Those do not change either.
	sandboxes map[string]*sandbox
	// members counts who is in a network, by its id; who comes is counted before the network can be removed.
	members map[string]map[string]*endpoint
	// published are the ports that lead to a network, by its id; it has none of a network whose members have changed since.
	published map[string][]firewall.Port
	// forwarding are the families for which we made the machine forward.
	forwarding firewall.Families
	// leaving are containers whose devices are being removed.
	leaving map[string]chan struct{}

	// steps is held while a step of a build comes or goes.
	steps sync.Mutex
	// creating is held while a network is made: two must not get the same name.
	creating sync.Mutex
	pruning  sync.Mutex
	damaged  chan string
}

// Open reads the networks. Nothing is made before Load.
func Open(o Options) (*Service, error) {
	s := &Service{
		o: o, ports: newLedger(), sandboxes: map[string]*sandbox{}, members: map[string]map[string]*endpoint{}, published: map[string][]firewall.Port{}, leaving: map[string]chan struct{}{},
		damaged: make(chan string, 64),
	}
	s.rules = newRuler(o.Filter, s.filterRules)
	if err := errors.Join(os.MkdirAll(o.Dir, 0o710), os.MkdirAll(s.sandboxDir(), 0o700)); err != nil {
		return nil, err
	}
	records, err := readRecords(o.Dir)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		n := &known{Record: r}
		if r.Driver == driverBridge {
			if n.bridge, err = readOptions(r.Options); err != nil {
				return nil, fmt.Errorf("network %s: %w", r.Name, err)
			}
		}
		s.all = append(s.all, n)
	}
	return s, s.predefine()
}

func (s *Service) sandboxDir() string { return filepath.Join(s.o.Run, "sandboxes") }

// Load makes the devices of all networks and finds the places of containers that run from before. A network that cannot
// be made keeps none of the others from being there: whoever uses it is told.
func (s *Service) Load(ctx context.Context) error {
	pools, err := s.pools()
	if err != nil {
		return err
	}
	s.space = ipam.New(pools)
	six := s.o.Defaults().IPv6
	for _, n := range s.networks() {
		six = six || n.Driver == driverBridge && n.EnableIPv6 && !n.ConfigOnly
		if err := s.reclaim(n); err != nil {
			slog.Error("the addresses of a network are not its own", "network", n.Name, "error", err)
		}
	}
	s.forward(six)
	if err := s.loadDefault(); err != nil {
		slog.Error("there is no default bridge", "error", err)
	}
	for _, n := range s.networks() {
		if err := s.ensure(n); err != nil {
			slog.Error("a network cannot be made", "network", n.Name, "error", err)
		}
	}
	if err := s.o.Devices.BindHome(homeFile); err != nil {
		slog.Warn("the host's network namespace has no file", "error", err)
	}
	if err := s.loadSandboxes(ctx); err != nil {
		return err
	}
	return s.rules.apply(ctx)
}

// homeFile is what clients are told to be the namespace of containers with the host's network.
const homeFile = "default"

// Run repairs what somebody damages, until the context ends.
func (s *Service) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.o.Devices.Watch(ctx, func(name string) {
			select {
			case s.damaged <- name:
			case <-ctx.Done():
			}
		})
	}()
	s.repair(ctx)
	<-done
}

func (s *Service) networks() []*known {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]*known(nil), s.all...)
}

func (s *Service) tell(action events.Action, n *known, container string) {
	if s.o.Events == nil {
		return
	}
	attributes := map[string]string{"name": n.Name, "type": n.Driver}
	if container != "" {
		attributes["container"] = container
	}
	s.o.Events.Publish(events.NetworkEventType, action, n.ID, attributes)
}
