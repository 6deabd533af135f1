package store

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
)

// imageStore collects garbage before a synchronous delete returns.
type imageStore struct {
	images.Store
	t       *transactor
	collect func(context.Context) error
}

// Delete removes a record.
func (s imageStore) Delete(ctx context.Context, name string, opts ...images.DeleteOpt) error {
	var o images.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &o); err != nil {
			return err
		}
	}
	if err := s.t.free(func() error { return s.Store.Delete(ctx, name, opts...) }); err != nil {
		return err
	}
	if !o.Synchronous {
		return nil
	}
	return s.collect(ctx)
}

// leaseManager collects garbage before a synchronous delete returns.
type leaseManager struct {
	leases.Manager
	t       *transactor
	collect func(context.Context) error
}

// Create makes a lease. It may use the space that is kept: whoever prunes makes a lease, to delete it.
func (m leaseManager) Create(ctx context.Context, opts ...leases.Opt) (lease leases.Lease, err error) {
	err = m.t.free(func() error {
		lease, err = m.Manager.Create(ctx, opts...)
		return err
	})
	return lease, err
}

// DeleteResource takes a resource out of a lease.
func (m leaseManager) DeleteResource(ctx context.Context, lease leases.Lease, resource leases.Resource) error {
	return m.t.free(func() error { return m.Manager.DeleteResource(ctx, lease, resource) })
}

// Delete removes a lease.
func (m leaseManager) Delete(ctx context.Context, lease leases.Lease, opts ...leases.DeleteOpt) error {
	var o leases.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &o); err != nil {
			return err
		}
	}
	if err := m.t.free(func() error { return m.Manager.Delete(ctx, lease, opts...) }); err != nil {
		return err
	}
	if !o.Synchronous {
		return nil
	}
	return m.collect(ctx)
}
