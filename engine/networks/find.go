package networks

import (
	"strings"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// find looks for a network by id, name, or the beginning of an id that only one has.
func (s *Service) find(ref string) (*known, error) {
	n, matches := s.match(ref)
	if matches > 1 {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "network %s is ambiguous (%d matches found based on ID prefix)", ref, matches)
	}
	if n == nil {
		return nil, fault.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	}
	return n, nil
}

func (s *Service) match(ref string) (found *known, matches int) {
	all := s.networks()
	for _, n := range all {
		if n.ID == ref || n.Name == ref {
			return n, 1
		}
	}
	for _, n := range all {
		if ref != "" && strings.HasPrefix(n.ID, ref) {
			found = n
			matches++
		}
	}
	return found, matches
}
