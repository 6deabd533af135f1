package containers

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// parseLink is container.SplitLink, of what can be a link.
func parseLink(link string) (name, alias string, err error) {
	if link == "" {
		return "", "", fault.Errorf(errdefs.ErrInvalidArgument, "empty string specified for links")
	}
	name, alias, two := strings.Cut(link, ":")
	switch {
	case !two:
		return name, name, nil
	case strings.Contains(alias, ":"):
		return "", "", fault.Errorf(errdefs.ErrInvalidArgument, "bad format for links: %s", link)
	}
	name, alias = container.SplitLink(link)
	return name, alias, nil
}

// checkLinks says no to legacy links that can never work.
func (g ground) checkLinks(c *container.Container) error {
	if c.HostConfig.NetworkMode.IsUserDefined() {
		return nil // Package networks knows them as aliases.
	}
	for _, l := range c.HostConfig.Links {
		name, _, err := parseLink(l)
		if err != nil {
			return err
		}
		child, err := g.linked(name)
		if err != nil {
			return err
		}
		if child.HostConfig.NetworkMode.IsHost() {
			return fault.Errorf(errdefs.ErrInvalidArgument, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
	}
	return nil
}

// linked finds the container that a link means: the one whose network it has.
func (g ground) linked(name string) (*container.Container, error) {
	seen := map[string]bool{}
	for {
		c, err := g.store.Get(name)
		if err != nil {
			// Not found would let clients look for the image.
			return nil, fault.As(errdefs.ErrInvalidArgument, fmt.Errorf("could not get container for %s: %w", name, err))
		}
		if !c.HostConfig.NetworkMode.IsContainer() || seen[c.ID] {
			return c, nil
		}
		seen[c.ID] = true
		name = c.HostConfig.NetworkMode.ConnectedContainer()
	}
}

// linksRun says no to a start while a container that is linked to does not run. Docker's environment variables of links
// are long gone; addresses in the hosts file are package networks' part.
func (g ground) linksRun(c *container.Container) error {
	if _, bridged := c.Endpoints["bridge"]; !bridged {
		return nil
	}
	for _, l := range c.HostConfig.Links {
		name, alias, err := parseLink(l)
		if err != nil {
			return err
		}
		child, err := g.linked(name)
		if err != nil {
			return err
		}
		if !busy(child) {
			return fmt.Errorf("Cannot link to a non running container: /%s AS %s", child.Name, path.Join("/", c.Name, alias)) //nolint:staticcheck // clients know these words
		}
	}
	return nil
}
