package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	bolt "go.etcd.io/bbolt"
)

// objects are the kinds of records in a namespace, and what one must have to be of use: a single image without a target
// makes containerd fail to list any.
var objects = []struct {
	path     [][]byte
	complete func(record *bolt.Bucket) bool
}{
	{[][]byte{[]byte("images")}, func(b *bolt.Bucket) bool { t := b.Bucket(keyTarget); return t != nil && len(t.Get(keyDigest)) > 0 }},
	{[][]byte{[]byte("containers")}, func(b *bolt.Bucket) bool { return b.Get(keyCreated) != nil && b.Bucket(keyRuntime) != nil }},
	{[][]byte{[]byte("sandboxes")}, func(b *bolt.Bucket) bool { return b.Get(keyCreated) != nil }},
	{[][]byte{[]byte("leases")}, func(b *bolt.Bucket) bool { return b.Get(keyCreated) != nil }},
	{[][]byte{keyContent, keyBlob}, func(b *bolt.Bucket) bool { return len(b.Get(keySize)) > 0 }},
	{[][]byte{keyContent, keyIngests}, func(b *bolt.Bucket) bool { return len(b.Get(keyRef)) > 0 }},
}

// dropHalves removes records of which a part was lost, and says which.
func dropHalves(ctx context.Context, tx *bolt.Tx) error {
	schema := tx.Bucket(keySchema)
	if schema == nil {
		return nil
	}
	return schema.ForEachBucket(func(namespace []byte) error {
		in := schema.Bucket(namespace)
		for _, kind := range objects {
			if err := dropHalvesOf(ctx, descend(in, kind.path), kind.complete, fmt.Sprintf("%s/%s", namespace, bytes.Join(kind.path, []byte("/")))); err != nil {
				return err
			}
		}
		snapshotters := in.Bucket(keySnapshots)
		if snapshotters == nil {
			return nil
		}
		return snapshotters.ForEachBucket(func(name []byte) error {
			complete := func(b *bolt.Bucket) bool { return len(b.Get(keyName)) > 0 }
			return dropHalvesOf(ctx, snapshotters.Bucket(name), complete, fmt.Sprintf("%s/snapshots/%s", namespace, name))
		})
	})
}

// descend is the bucket at the end of the path; nil where there is none.
func descend(b *bolt.Bucket, path [][]byte) *bolt.Bucket {
	for _, name := range path {
		if b != nil {
			b = b.Bucket(name)
		}
	}
	return b
}

func dropHalvesOf(ctx context.Context, in *bolt.Bucket, complete func(*bolt.Bucket) bool, what string) error {
	if in == nil {
		return nil
	}
	var halves [][]byte
	err := in.ForEachBucket(func(name []byte) error {
		if !complete(in.Bucket(name)) {
			halves = append(halves, bytes.Clone(name))
		}
		return nil
	})
	for _, name := range halves {
		if err != nil {
			return err
		}
		slog.ErrorContext(ctx, "a record had lost a part, and is removed", "kind", what, "name", string(name))
		err = in.DeleteBucket(name)
	}
	return err
}
