package container

import "strings"

// SplitLink reads a legacy link: "name", "name:alias", and "/name:/parent/alias" as old records have it.
func SplitLink(link string) (name, alias string) {
	name, alias, found := strings.Cut(link, ":")
	if !found {
		alias = name
	}
	return strings.TrimPrefix(name, "/"), alias[strings.LastIndex(alias, "/")+1:]
}

// LegacyLinks are links of the default bridge. On networks of users links are aliases there.
func (c *Container) LegacyLinks() []string {
	if c.HostConfig == nil || c.HostConfig.NetworkMode.IsUserDefined() {
		return nil
	}
	return c.HostConfig.Links
}

// byLink finds what a container calls by a name of its own: "parent/alias". It needs mu.
func (s *Store) byLink(ref string) *Container {
	parent, alias, ok := strings.Cut(strings.TrimPrefix(ref, "/"), "/")
	if !ok {
		return nil
	}
	e, ok := s.byID[s.byName[parent]]
	if !ok {
		return nil
	}
	for _, l := range e.current.LegacyLinks() {
		name, known := SplitLink(l)
		if known != alias {
			continue
		}
		if child, err := s.find(name); err == nil {
			return child
		}
	}
	return nil
}
