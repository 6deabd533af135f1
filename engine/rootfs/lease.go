package rootfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
)

// leaseLabel marks our leases: an engine that is killed leaves them, and the next one ends them.
const leaseLabel = "gantry.engine/rootfs"

// lease keeps what is made in the context from the manager's garbage collector until done.
func (s *Service) lease(ctx context.Context) (_ context.Context, done func(context.Context) error, err error) {
	return s.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour),
		leases.WithLabels(map[string]string{leaseLabel: "1"}))
}

// sweepLeases ends what engines that were killed have left.
func (s *Service) sweepLeases(ctx context.Context) error {
	service := s.client.LeasesService()
	left, err := service.List(ctx, fmt.Sprintf("labels.%q", leaseLabel))
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	var errs []error
	for _, l := range left {
		errs = append(errs, service.Delete(ctx, l))
	}
	return errors.Join(errs...)
}
