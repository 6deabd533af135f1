package networks

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/container"
)

// onDefault is a sandbox's place on the default bridge, or nil.
func (b *sandbox) onDefault() *endpoint {
	if b == nil {
		return nil
	}
	for _, e := range b.Endpoints {
		if e.Name == network.NetworkBridge {
			return e
		}
	}
	return nil
}

// linkedHosts are the containers that a container on the default bridge is linked to, as lines for its hosts file.
func (s *Service) linkedHosts(c *container.Container, b *sandbox) (lines []string, err error) {
	if b.onDefault() == nil {
		return nil, nil
	}
	for _, l := range c.HostConfig.Links {
		name, alias := container.SplitLink(l)
		child, err := s.o.Records.Get(name)
		if err != nil {
			return nil, err
		}
		e := s.get(child.ID).onDefault()
		if e == nil {
			return nil, fmt.Errorf("Cannot link to /%s, as it does not belong to the default network", child.Name) //nolint:staticcheck // clients know these words
		}
		known := alias + " " + child.Config.Hostname
		if alias != child.Name {
			known += " " + child.Name
		}
		for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
			if a.IsValid() {
				lines = append(lines, fmt.Sprintf("%s\t%s\n", a.Addr(), known))
			}
		}
	}
	return lines, nil
}

// tellParents brings a container's new address into the hosts files of those who are linked to it.
func (s *Service) tellParents(c *container.Container, b *sandbox) {
	e := b.onDefault()
	if e == nil || !e.IPv4.IsValid() {
		return
	}
	for _, parent := range s.o.Records.List() {
		if len(parent.HostConfig.Links) == 0 || s.get(parent.ID).onDefault() == nil {
			continue
		}
		for _, l := range parent.HostConfig.Links {
			name, alias := container.SplitLink(l)
			if name != c.Name && name != c.ID {
				continue
			}
			err := editHosts(filepath.Join(s.o.Records.Dir(parent.ID), "hosts"), func(line string) (string, bool) {
				ip, names, _ := strings.Cut(line, "\t")
				if a, err := netip.ParseAddr(ip); err == nil && a.Is4() && strings.HasPrefix(names, alias+" ") {
					line = e.IPv4.Addr().String() + "\t" + names
				}
				return line, true
			}, nil)
			if err != nil {
				slog.Warn("a link leads to an old address", "container", parent.ID, "to", c.ID, "error", err)
			}
		}
	}
}
