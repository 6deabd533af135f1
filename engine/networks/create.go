package networks

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/bridge"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/names"
)

// Drivers that make devices.
const (
	driverBridge = network.NetworkBridge
	driverNull   = "null"
	driverHost   = network.NetworkHost
)

// Create makes a network. A failure leaves nothing.
func (s *Service) Create(ctx context.Context, req network.CreateRequest) (*network.CreateResponse, error) {
	n, err := s.asked(req)
	if err != nil {
		return nil, err
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	if s.named(req.Name) != nil {
		return nil, fault.Errorf(errdefs.ErrAlreadyExists, "network with name %s already exists", req.Name)
	}
	k := &known{Record: Record{Network: *n}}
	if n.ConfigOnly {
		k.Driver = driverNull
	} else if err := s.furnish(k, n.IPAM.Config); err != nil {
		return nil, err
	}
	if err := s.write(&k.Record); err != nil {
		return nil, errors.Join(err, s.dismantle(k))
	}
	s.replace(nil, k)
	if n.ConfigOnly {
		return &network.CreateResponse{ID: k.ID}, nil
	}
	if err := s.rules.apply(ctx); err != nil {
		s.replace(k, nil)
		return nil, errors.Join(err, s.forget(k.ID), s.dismantle(k))
	}
	s.tell(events.ActionCreate, k, "")
	return &network.CreateResponse{ID: k.ID}, nil
}

// named is the network with a name.
func (s *Service) named(name string) *known {
	for _, n := range s.networks() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// asked is what a client asks for, as far as it makes sense.
func (s *Service) asked(req network.CreateRequest) (*network.Network, error) {
	if IsPredefined(req.Name) {
		return nil, fault.Errorf(errdefs.ErrPermissionDenied, "operation is not permitted on predefined %s network ", req.Name)
	}
	n := &network.Network{
		Name: req.Name, ID: names.ID(), Scope: "local", Driver: req.Driver, EnableIPv4: true, Internal: req.Internal,
		Attachable: req.Attachable, Ingress: req.Ingress, ConfigOnly: req.ConfigOnly, Options: map[string]string{}, Labels: map[string]string{},
		IPAM: network.IPAM{Driver: "default"},
	}
	n.Created = time.Now().UTC()
	if n.Driver == "" {
		n.Driver = driverBridge
	}
	if n.Driver == "overlay" {
		return nil, fault.Errorf(errdefs.ErrPermissionDenied, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	}
	maps.Copy(n.Labels, req.Labels)
	if err := s.askedFamilies(n, req); err != nil {
		return nil, err
	}
	if req.IPAM != nil {
		if err := validateIPAM(req.IPAM.Config, n.EnableIPv6); err != nil {
			return nil, err
		}
		n.IPAM = *req.IPAM
		if n.IPAM.Driver == "" {
			n.IPAM.Driver = "default"
		}
		n.IPAM.Config = slices.Clone(req.IPAM.Config)
	}
	if strings.TrimSpace(req.Name) == "" {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid name: name is empty")
	}
	if req.ConfigFrom != nil {
		n.ConfigFrom = *req.ConfigFrom
	}
	return n, s.configured(n, req)
}

// askedFamilies completes the options by the engine's, and says which families there are.
func (s *Service) askedFamilies(n *network.Network, req network.CreateRequest) error {
	maps.Copy(n.Options, req.Options)
	if req.ConfigFrom == nil {
		for k, v := range s.o.Defaults().DriverOptions[n.Driver] {
			if _, given := n.Options[k]; !given {
				n.Options[k] = v
			}
		}
	}
	for _, f := range []struct {
		asked  *bool
		option string
		is     *bool
	}{
		{req.EnableIPv4, optIPv4, &n.EnableIPv4},
		{req.EnableIPv6, optIPv6, &n.EnableIPv6},
	} {
		if f.asked != nil {
			*f.is = *f.asked
			delete(n.Options, f.option)
			continue
		}
		value, given := n.Options[f.option]
		if !given {
			continue
		}
		is, err := strconv.ParseBool(value)
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "driver-opt %q is not a valid bool", f.option)
		}
		*f.is = is
	}
	return nil
}

// configured looks at networks that only configure others, and takes the configuration over.
func (s *Service) configured(n *network.Network, req network.CreateRequest) error {
	forbidden := func(text string) error { return fault.Errorf(errdefs.ErrPermissionDenied, "%s", text) }
	if n.ConfigOnly && (n.Ingress || n.Internal || n.Attachable || req.Scope != "") {
		return forbidden("configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	}
	from := n.ConfigFrom.Network
	switch {
	case from == "":
	case n.ConfigOnly:
		return forbidden("a configuration network cannot depend on another configuration network")
	case n.IPAM.Driver != "default" || !n.EnableIPv4 || n.EnableIPv6 || len(n.Labels) > 0 || len(n.IPAM.Options) > 0 || len(n.IPAM.Config) > 0:
		return forbidden("user-specified configurations are not supported if the network depends on a configuration network")
	case len(n.Options) > 0:
		return forbidden("network driver options are not supported if the network depends on a configuration network")
	}
	if n.ConfigOnly {
		return nil
	}
	switch n.Driver {
	case driverBridge, bridge.Macvlan, bridge.IPvlan:
	case driverNull, driverHost:
		return fault.Errorf(errdefs.ErrPermissionDenied, "only one instance of %q network is allowed", n.Driver)
	default:
		return fault.Errorf(errdefs.ErrNotFound, "could not find plugin %s in v1 plugin registry: plugin not found", n.Driver)
	}
	if n.Ingress {
		return forbidden("Ingress network can only be global scope network")
	}
	if req.Scope == "swarm" {
		return forbidden("cannot create a swarm scoped network when swarm is not active")
	}
	if from == "" {
		return nil
	}
	c := s.named(from)
	if c == nil || !c.ConfigOnly {
		return fault.Errorf(errdefs.ErrNotFound, "configuration network %q does not exist", from)
	}
	n.EnableIPv4, n.EnableIPv6, n.IPAM = c.EnableIPv4, c.EnableIPv6, c.IPAM
	n.Options, n.Labels = maps.Clone(c.Options), maps.Clone(c.Labels)
	return nil
}

// furnish gives a network its addresses and devices.
func (s *Service) furnish(n *known, asked []network.IPAMConfig) (err error) {
	var skip4, skip6 bool
	switch n.Driver {
	case driverBridge:
		if n.bridge, err = readOptions(n.Options); err != nil {
			return err
		}
		skip4 = n.bridge.mode4 == modeIsolated || n.bridge.inhibit && n.Internal
		skip6 = n.bridge.mode6 == modeIsolated
	default:
		skip4, skip6 = true, true // their gateways are routers outside
	}
	if n.IPAM.Driver != "default" && n.IPAM.Driver != driverNull {
		return fault.Errorf(errdefs.ErrNotFound, "could not find plugin %s in v1 plugin registry: plugin not found", n.IPAM.Driver)
	}
	if n.IPAM.Driver == driverNull {
		return fault.Errorf(errdefs.ErrInvalidArgument, "ipv4 pool is empty")
	}
	if n.IPAM.Config, err = s.allocate(&n.Network, asked, skip4, skip6); err != nil {
		return err
	}
	if n.Driver == driverBridge {
		err = s.plan(n)
	} else {
		err = s.planParent(n)
	}
	if err != nil {
		s.release(n.IPAM.Config)
		return err
	}
	if n.EnableIPv6 && n.Driver == driverBridge {
		s.forward(true)
	}
	if err := s.ensure(n); err != nil {
		return errors.Join(err, s.dismantle(n))
	}
	return nil
}

// plan decides how a bridge will be, and says no to what cannot be one.
func (s *Service) plan(n *known) error {
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "IPv4 or IPv6 must be enabled")
	}
	if count(n, 4) > 1 || count(n, 6) > 1 {
		return fault.Errorf(errdefs.ErrPermissionDenied, "bridge driver doesn't support multiple subnets")
	}
	if (n.bridge.mode4 == modeIsolated || n.bridge.mode6 == modeIsolated) && !n.Internal {
		return fault.Errorf(errdefs.ErrInternal, "gateway mode 'isolated' can only be used for an internal network")
	}
	for _, c := range n.IPAM.Config {
		if err := validSubnet(c); err != nil {
			return err
		}
	}
	n.Device, n.MAC = n.bridge.name, bridge.MAC()
	if n.Device == "" {
		n.Device = "br-" + n.ID[:12]
	}
	for _, other := range s.networks() {
		if why := conflict(n, other); why != "" {
			return fault.Errorf(errdefs.ErrPermissionDenied, "cannot create network %s (%s): conflicts with network %s (%s): %s", n.ID, n.Device, other.ID, other.Device, why)
		}
	}
	var err error
	n.Given, err = s.o.Devices.Exists(n.Device)
	return err
}

func count(n *known, family int) (number int) {
	for _, c := range n.IPAM.Config {
		if familyOf(c.Subnet.Addr()) == family {
			number++
		}
	}
	return number
}

// validSubnet says no to IPv6 networks that mean something else.
func validSubnet(c network.IPAMConfig) error {
	for aux, gateway := range c.AuxAddress {
		if (aux == auxGateway4 || aux == auxGateway6) && !c.Subnet.Contains(gateway) {
			return fault.Errorf(errdefs.ErrInvalidArgument, "default gateway ip must be part of the network")
		}
	}
	a, own := c.Subnet.Addr(), c.Subnet
	if c.Gateway.IsValid() {
		own = netip.PrefixFrom(c.Gateway, c.Subnet.Bits())
	}
	switch {
	case !a.Is6():
	case a.IsMulticast():
		return fault.Errorf(errdefs.ErrInvalidArgument, "multicast subnet '%s' is not allowed", own)
	case a.IsLinkLocalUnicast() && c.Subnet.Bits() != 64:
		return fault.Errorf(errdefs.ErrInvalidArgument, "'%s' clashes with the Link-Local prefix 'fe80::/64'", own)
	}
	return nil
}

// conflict says why two bridge networks cannot be there at once.
func conflict(n, other *known) string {
	if other.Driver != driverBridge || other.ConfigOnly {
		return ""
	}
	if n.Device == other.Device {
		return "networks have same bridge name"
	}
	for _, a := range n.IPAM.Config {
		for _, b := range other.IPAM.Config {
			if a.Subnet.Overlaps(b.Subnet) {
				return "networks have overlapping IPv" + strconv.Itoa(familyOf(a.Subnet.Addr()))
			}
		}
	}
	return ""
}

// planParent decides on which device those of a macvlan or ipvlan network sit.
func (s *Service) planParent(n *known) error {
	mode := modeOf(n)
	if !bridge.IsMode(n.Driver, mode) {
		return fault.Errorf(errdefs.ErrInternal, "requested %s mode '%s' is not valid, '%s' mode is the %s driver default", n.Driver, mode, map[string]string{bridge.Macvlan: "bridge", bridge.IPvlan: "l2"}[n.Driver], n.Driver)
	}
	n.Device = n.Options[optParent]
	switch n.Device {
	case "lo":
		return fault.Errorf(errdefs.ErrInternal, "loopback interface is not a valid %s parent link", n.Driver)
	case "":
		// Without a parent it leads nowhere.
		n.Internal = true
		n.Device = map[string]string{bridge.Macvlan: "dm-", bridge.IPvlan: "di-"}[n.Driver] + n.ID[:12]
	}
	var err error
	if n.Given, err = s.o.Devices.Exists(n.Device); err != nil {
		return err
	}
	for _, other := range s.networks() {
		if other.Device != n.Device || other.Driver != n.Driver {
			continue
		}
		n.Given = other.Given
		if mode == "passthru" {
			return fault.Errorf(errdefs.ErrInternal, "cannot use mode passthru, macvlan network %s is already using parent interface %s", other.ID, n.Device)
		}
	}
	return nil
}

func modeOf(n *known) string { return n.Options[n.Driver+"_mode"] }
