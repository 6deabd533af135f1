package store

import (
	"context"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bolt "go.etcd.io/bbolt"
)

// namespaceStore gives each call its own transaction; containerd's namespace store lives in one.
type namespaceStore struct {
	db *metadata.DB
	t  *transactor
}

// Create makes a namespace.
func (s namespaceStore) Create(ctx context.Context, namespace string, labels map[string]string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return metadata.NewNamespaceStore(tx).Create(ctx, namespace, labels)
	})
}

// Labels reads the labels of one.
func (s namespaceStore) Labels(ctx context.Context, namespace string) (labels map[string]string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		labels, err = metadata.NewNamespaceStore(tx).Labels(ctx, namespace)
		return err
	})
	return labels, err
}

// SetLabel sets one of its labels, or removes it: "".
func (s namespaceStore) SetLabel(ctx context.Context, namespace, key, value string) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return metadata.NewNamespaceStore(tx).SetLabel(ctx, namespace, key, value)
	})
}

// Transact makes several calls in one transaction.
func (s namespaceStore) Transact(_ context.Context, calls func(namespaces.Store) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return calls(metadata.NewNamespaceStore(tx)) })
}

// List reads all names.
func (s namespaceStore) List(ctx context.Context) (names []string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		names, err = metadata.NewNamespaceStore(tx).List(ctx)
		return err
	})
	return names, err
}

// Delete removes one that is empty.
func (s namespaceStore) Delete(ctx context.Context, namespace string, opts ...namespaces.DeleteOpts) error {
	return s.t.free(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			return metadata.NewNamespaceStore(tx).Delete(ctx, namespace, opts...)
		})
	})
}
