package networks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// Remove removes a network that nobody is in.
func (s *Service) Remove(ctx context.Context, ref string) error {
	n, matches := s.match(ref)
	switch {
	case matches > 1:
		return fault.Errorf(errdefs.ErrInvalidArgument, "network %s is ambiguous (%d matches found based on ID prefix)", ref, matches)
	case n == nil:
		return fault.Errorf(errdefs.ErrNotFound, "network %s not found", ref)
	case IsPredefined(n.Name):
		return fault.Errorf(errdefs.ErrPermissionDenied, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	if err := s.remove(ctx, n); err != nil {
		return fmt.Errorf("error while removing network: %w", err)
	}
	return nil
}

func (s *Service) remove(ctx context.Context, n *known) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	if err := s.withdraw(n); err != nil {
		return err
	}
	// The record goes last: who is killed before has the network still.
	err := s.dismantle(n)
	if err == nil {
		err = s.forget(n.ID)
	}
	if err != nil {
		s.replace(nil, n)
		return err
	}
	if n.ConfigOnly {
		return nil
	}
	if err := s.rules.apply(ctx); err != nil {
		slog.Warn("rules of a network that is gone are left", "network", n.Name, "error", err)
	}
	s.tell(events.ActionDestroy, n, "")
	return nil
}

// withdraw takes a network out of the list, so that nobody comes any more, unless somebody is there.
func (s *Service) withdraw(n *known) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.all, n)
	if i < 0 {
		return fault.Errorf(errdefs.ErrNotFound, "unknown network %s id %s", n.Name, n.ID)
	}
	for _, other := range s.all {
		if n.ConfigOnly && other.ConfigFrom.Network == n.Name {
			return fault.Errorf(errdefs.ErrPermissionDenied, "configuration network %q is in use", n.Name)
		}
	}
	if members := s.members[n.ID]; len(members) > 0 {
		var list []string
		for _, e := range members {
			list = append(list, fmt.Sprintf("name:%q id:%q", e.Container, e.ID[:12]))
		}
		slices.Sort(list)
		return fault.Errorf(errdefs.ErrPermissionDenied, "network %s has active endpoints (%s)", n.Name, strings.Join(list, ", "))
	}
	s.all = slices.Delete(slices.Clone(s.all), i, i+1)
	delete(s.published, n.ID)
	return nil
}

// Prune removes networks that nobody is in.
func (s *Service) Prune(ctx context.Context, args filters.Args) (*network.PruneReport, error) {
	if !s.pruning.TryLock() {
		return nil, fault.Errorf(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer s.pruning.Unlock()
	if err := args.Only("label", "label!", "until"); err != nil {
		return nil, err
	}
	until, err := untilFilter(args)
	if err != nil {
		return nil, err
	}
	report := &network.PruneReport{}
	for _, n := range s.networks() {
		if !s.dangles(n) || n.Ingress || !args.Labels("label", n.Labels) || args.Has("label!") && args.Labels("label!", n.Labels) ||
			!until.IsZero() && n.Created.After(until) {
			continue
		}
		if err := s.remove(ctx, n); err != nil {
			slog.Warn("a network is not pruned", "network", n.Name, "error", err)
			continue
		}
		report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
	}
	if ctx.Err() == nil && s.o.Events != nil {
		s.o.Events.Publish(events.NetworkEventType, events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	}
	return report, nil
}

func untilFilter(args filters.Args) (time.Time, error) {
	values := args.Values("until")
	switch len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		t, err := filters.Time(values[0], time.Now())
		if err != nil && fault.Class(err) == nil {
			err = fault.As(errdefs.ErrInvalidArgument, err)
		}
		return t, err
	}
	return time.Time{}, fault.As(errdefs.ErrInvalidArgument, errors.New("more than one until filter specified"))
}
