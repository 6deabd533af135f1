package networks

import (
	"maps"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// List is the networks that pass filters, with who is in them.
func (s *Service) List(args filters.Args) ([]network.Inspect, error) {
	if err := args.Only("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	for _, v := range args.Values("type") {
		if v != "builtin" && v != "custom" {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid value for filter 'type': must be 'builtin' or 'custom'")
		}
	}
	dangling, err := danglingFilter(args)
	if err != nil {
		return nil, err
	}
	list := []network.Inspect{}
	for _, n := range s.networks() {
		if passes(n, args) && (dangling == nil || *dangling == s.dangles(n)) {
			list = append(list, s.inspect(n))
		}
	}
	return list, nil
}

func passes(n *known, args filters.Args) bool {
	kind := "custom"
	if IsPredefined(n.Name) {
		kind = "builtin"
	}
	return args.Exact("driver", n.Driver) && args.Match("name", n.Name) && args.Match("id", n.ID) && args.Exact("scope", n.Scope) &&
		args.Exact("type", kind) && args.Labels("label", n.Labels)
}

// dangles says that a network is of no use: what is always there never is.
func (s *Service) dangles(n *known) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !IsPredefined(n.Name) && len(s.members[n.ID]) == 0
}

// danglingFilter is nil when nobody asks.
func danglingFilter(args filters.Args) (*bool, error) {
	values := args.Values("dangling")
	if len(values) == 0 {
		return nil, nil //nolint:nilnil // that nobody asks is an answer
	}
	if len(values) > 1 {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, `got more than one value for filter key "dangling"`)
	}
	no, yes := false, true
	switch values[0] {
	case "0", "false":
		return &no, nil
	case "1", "true":
		return &yes, nil
	}
	return nil, fault.Errorf(errdefs.ErrInvalidArgument, `invalid value for filter 'dangling': must be "true" (or "1"), or "false" (or "0")`)
}

// Inspect is one network, as the newest API tells it.
func (s *Service) Inspect(ref string) (*network.Inspect, error) {
	n, matches := s.match(ref)
	if matches > 1 {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "%d matches found based on ID prefix: network %s is ambiguous", matches, ref)
	}
	if n == nil {
		return nil, fault.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	}
	i := s.inspect(n)
	i.Status = s.status(n)
	return &i, nil
}

// inspect gives copies away: answers are made for a version by changing them.
func (s *Service) inspect(n *known) network.Inspect {
	i := network.Inspect{Network: n.Network, Containers: map[string]network.EndpointResource{}}
	if n.ConfigOnly {
		i.IPAM.Config = nil // what it has is others'
	}
	i.Options, i.Labels = maps.Clone(n.Options), maps.Clone(n.Labels)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, e := range s.members[n.ID] {
		if s.sandboxes[id].Step != "" {
			continue
		}
		r := network.EndpointResource{Name: e.Container, EndpointID: e.ID, MacAddress: network.HardwareAddr(e.Link.MAC)}
		r.IPv4Address, r.IPv6Address = e.IPv4, e.IPv6
		i.Containers[id] = r
	}
	return i
}

func (s *Service) status(n *known) *network.Status {
	st := &network.Status{IPAM: network.IPAMStatus{}}
	if n.Driver == driverHost || n.Driver == driverNull {
		return st
	}
	st.IPAM.Subnets = network.SubnetStatuses{}
	for _, c := range n.IPAM.Config {
		used, free := s.space.Status(c.Subnet, c.IPRange)
		st.IPAM.Subnets[c.Subnet] = network.SubnetStatus{IPsInUse: used, DynamicIPsAvailable: free}
	}
	return st
}
