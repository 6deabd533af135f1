package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// rescueLease holds, in each namespace, all that there was when a database had lost records: what refers to it may have
// been among them. Who has looked through it, and taken what is wanted, deletes the lease.
const rescueLease = "gantry-rescued"

// rescueNamespace is where blobs go whose namespaces nobody knows any more.
const rescueNamespace = "default"

// adopt gives snapshots without a record one, under the names in their own names.
func (r *reconciler) adopt(ctx context.Context, snapshotter string, unknown []snapshots.Info) error {
	slog.ErrorContext(ctx, "snapshots had lost their records and get new ones", "snapshotter", snapshotter, "number", len(unknown), "lease", rescueLease)
	return r.db.Update(func(tx *bolt.Tx) error {
		for _, info := range unknown {
			if err := adoptSnapshot(ctx, tx, snapshotter, info); err != nil {
				return fmt.Errorf("snapshot %s: %w", info.Name, err)
			}
		}
		return linkChildren(tx, snapshotter)
	})
}

// splitOwnName takes apart the name that the metadata database gives a snapshot in its snapshotter.
func splitOwnName(own string) (namespace string, number uint64, name string, ok bool) {
	namespace, rest, ok := strings.Cut(own, "/")
	if !ok {
		return "", 0, "", false
	}
	digits, name, ok := strings.Cut(rest, "/")
	number, err := strconv.ParseUint(digits, 10, 64)
	return namespace, number, name, ok && err == nil && namespace != "" && name != ""
}

// adoptSnapshot makes the record, unless the name is taken.
func adoptSnapshot(ctx context.Context, tx *bolt.Tx, snapshotter string, info snapshots.Info) error {
	namespace, number, name, ok := splitOwnName(info.Name)
	if !ok {
		slog.ErrorContext(ctx, "a snapshot without a record has no name of containerd's, and stays as it is", "snapshotter", snapshotter, "name", info.Name)
		return nil
	}
	in, err := makeBuckets(tx, namespace, "snapshots", snapshotter)
	if err != nil {
		return err
	}
	if in.Sequence() < number {
		if err := in.SetSequence(number); err != nil {
			return err
		}
	}
	if in.Bucket([]byte(name)) != nil {
		return nil
	}
	record, err := in.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	err = errors.Join(record.Put(keyName, []byte(info.Name)), boltutil.WriteTimestamps(record, info.Created, info.Updated))
	if _, _, parent, ok := splitOwnName(info.Parent); ok {
		err = errors.Join(err, record.Put(keyParent, []byte(parent)))
	}
	return err
}

// linkChildren makes the links from parents to children, which follow from those from children to parents.
func linkChildren(tx *bolt.Tx, snapshotter string) error {
	schema := tx.Bucket(keySchema)
	return schema.ForEachBucket(func(namespace []byte) error {
		in := schema.Bucket(namespace).Bucket(keySnapshots)
		if in == nil || in.Bucket([]byte(snapshotter)) == nil {
			return nil
		}
		in = in.Bucket([]byte(snapshotter))
		links := map[string][]byte{} // from child to parent
		err := in.ForEachBucket(func(name []byte) error {
			if parent := in.Bucket(name).Get(keyParent); len(parent) > 0 {
				links[string(name)] = bytes.Clone(parent)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for child, parent := range links {
			record := in.Bucket(parent)
			if record == nil {
				continue
			}
			children, err := record.CreateBucketIfNotExists(keyChildren)
			if err == nil {
				err = children.Put([]byte(child), nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func makeBuckets(tx *bolt.Tx, path ...string) (*bolt.Bucket, error) {
	b, err := tx.CreateBucketIfNotExists(keySchema)
	for _, name := range path {
		if err != nil {
			return nil, err
		}
		b, err = b.CreateBucketIfNotExists([]byte(name))
	}
	return b, err
}

// adoptBlobs gives blobs without a record one.
func (r *reconciler) adoptBlobs(ctx context.Context, unknown []content.Info) error {
	slog.ErrorContext(ctx, "blobs had lost their records and get new ones", "number", len(unknown), "namespace", rescueNamespace, "lease", rescueLease)
	return r.db.Update(func(tx *bolt.Tx) error {
		blobs, err := makeBuckets(tx, rescueNamespace, "content", "blob")
		if err != nil {
			return err
		}
		now := time.Now().UTC()
		for _, info := range unknown {
			record, err := blobs.CreateBucket([]byte(info.Digest))
			if err == nil {
				err = errors.Join(record.Put(keySize, binary.AppendVarint(nil, info.Size)), boltutil.WriteTimestamps(record, now, now))
			}
			if err != nil {
				return fmt.Errorf("blob %s: %w", info.Digest, err)
			}
		}
		return nil
	})
}

// holdAll gives every snapshot and blob to the lease of its namespace, in one transaction.
func (r *reconciler) holdAll(ctx context.Context) error {
	return r.db.Update(func(tx *bolt.Tx) error {
		if err := r.known.read(tx); err != nil {
			return err
		}
		h := holder{ctx: boltutil.WithTransaction(ctx, tx), leases: metadata.NewLeaseManager(r.db), made: map[string]struct{}{}}
		for dgst, records := range r.known.blobs {
			for _, b := range records {
				h.hold(b.namespace, leases.Resource{Type: "content", ID: dgst.String()})
			}
		}
		for snapshotter, all := range r.known.snapshots {
			for _, record := range all {
				h.hold(record.namespace, leases.Resource{Type: "snapshots/" + snapshotter, ID: record.name})
			}
		}
		return h.err
	})
}

// holder adds to leases until something fails.
type holder struct {
	ctx    context.Context
	leases leases.Manager
	made   map[string]struct{} // the namespaces whose lease is there
	err    error
}

func (h *holder) hold(namespace string, resource leases.Resource) {
	if h.err != nil {
		return
	}
	in := namespaces.WithNamespace(h.ctx, namespace)
	if _, ok := h.made[namespace]; !ok {
		h.made[namespace] = struct{}{}
		if _, err := h.leases.Create(in, leases.WithID(rescueLease)); err != nil && !errdefs.IsAlreadyExists(err) {
			h.err = fmt.Errorf("lease %s: %w", rescueLease, err)
			return
		}
	}
	if err := h.leases.AddResource(in, leases.Lease{ID: rescueLease}, resource); err != nil {
		h.err = fmt.Errorf("lease %s: %w", rescueLease, err)
	}
}
