package images

import (
	"context"
	"log/slog"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
)

const (
	// leaseLabel marks our leases, with the process that made them.
	leaseLabel = "gantry.engine/instance"
	// pruneLabel marks leases of pulls that were broken off, by whoever works on this namespace: prune ends them.
	pruneLabel = "moby/prune.images"
)

// lease keeps what is made in the context from the manager's garbage collector until done. When done is told of a
// failure, it waits until what was made is gone.
func (s *Store) lease(ctx context.Context) (_ context.Context, done func(failed error), err error) {
	service := s.client.LeasesService()
	l, err := service.Create(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour),
		leases.WithLabels(map[string]string{leaseLabel: s.instance}))
	if err != nil {
		return ctx, nil, err
	}
	return leases.WithLease(ctx, l.ID), func(failed error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		var opts []leases.DeleteOpt
		if failed != nil {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := service.Delete(ctx, l, opts...); err != nil {
			slog.Warn("a lease is left until it expires", "error", err)
		}
	}, nil
}

// hold adds a blob that is here already to the lease of a context.
func (s *Store) hold(ctx context.Context, blob digest.Digest) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	return s.client.LeasesService().AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: blob.String(), Type: "content"})
}

// leaseOf is the id of the lease of a context.
func leaseOf(ctx context.Context) string {
	id, _ := leases.FromContext(ctx)
	return id
}

// sweepLeases ends the leases of engines that were killed.
func (s *Store) sweepLeases(ctx context.Context) {
	service := s.client.LeasesService()
	list, err := service.List(ctx, `labels."`+leaseLabel+`"`)
	if err != nil {
		slog.Warn("leases of earlier engines are left", "error", err)
		return
	}
	for _, l := range list {
		if l.Labels[leaseLabel] == s.instance {
			continue
		}
		if err := service.Delete(ctx, l); err != nil {
			slog.Warn("a lease of an earlier engine is left", "lease", l.ID, "error", err)
		}
	}
}

// pruneLeases ends the leases of pulls that were broken off, and waits until what they held is gone.
func (s *Store) pruneLeases(ctx context.Context) error {
	service := s.client.LeasesService()
	list, err := service.List(ctx, `labels."`+pruneLabel+`"`)
	if err != nil {
		return err
	}
	for i, l := range list {
		var opts []leases.DeleteOpt
		if i == len(list)-1 {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := service.Delete(ctx, l, opts...); err != nil {
			return err
		}
	}
	return nil
}
