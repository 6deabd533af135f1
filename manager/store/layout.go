package store

import (
	"encoding/binary"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Buckets of containerd's metadata database, version 1 of its schema (core/metadata/buckets.go):
//
//	v1/NAMESPACE/snapshots/SNAPSHOTTER/NAME/name       the snapshotter's own name for it, NAMESPACE/NUMBER/NAME
//	v1/NAMESPACE/snapshots/SNAPSHOTTER/NAME/parent     a NAME
//	v1/NAMESPACE/snapshots/SNAPSHOTTER/NAME/children/  NAMEs
//	v1/NAMESPACE/content/blob/DIGEST/size              a varint
//	v1/NAMESPACE/content/ingests/REF/ref               the content store's own reference
//	v1/NAMESPACE/content/ingests/REF/expected          a digest
var (
	keySchema    = []byte("v1")
	keySnapshots = []byte("snapshots")
	keyContent   = []byte("content")
	keyBlob      = []byte("blob")
	keyIngests   = []byte("ingests")
	keyName      = []byte("name")
	keyParent    = []byte("parent")
	keyChildren  = []byte("children")
	keySize      = []byte("size")
	keyRef       = []byte("ref")
	keyExpected  = []byte("expected")
	keyTarget    = []byte("target")
	keyDigest    = []byte("digest")
	keyRuntime   = []byte("runtime")
	keyCreated   = []byte("createdat")
	keyID        = []byte("id") // in a snapshotter's database, a uvarint
)

// read collects everything. It can be called again after changes.
func (k *known) read(tx *bolt.Tx) error {
	k.blobs = map[digest.Digest][]blobRecord{}
	k.expected = map[digest.Digest]struct{}{}
	k.ingests = map[string]struct{}{}
	k.snapshots = map[string]map[string]snapshotRecord{}
	schema := tx.Bucket(keySchema)
	if schema == nil {
		return nil
	}
	return schema.ForEachBucket(func(namespace []byte) error {
		in := schema.Bucket(namespace)
		if err := k.readSnapshots(string(namespace), in.Bucket(keySnapshots)); err != nil {
			return err
		}
		c := in.Bucket(keyContent)
		if c == nil {
			return nil
		}
		if err := k.readBlobs(string(namespace), c.Bucket(keyBlob)); err != nil {
			return err
		}
		return k.readIngests(c.Bucket(keyIngests))
	})
}

func (k *known) readSnapshots(namespace string, snapshotters *bolt.Bucket) error {
	if snapshotters == nil {
		return nil
	}
	return snapshotters.ForEachBucket(func(snapshotter []byte) error {
		named := k.snapshots[string(snapshotter)]
		if named == nil {
			named = map[string]snapshotRecord{}
			k.snapshots[string(snapshotter)] = named
		}
		of := snapshotters.Bucket(snapshotter)
		return of.ForEachBucket(func(name []byte) error {
			if own := of.Bucket(name).Get(keyName); len(own) > 0 {
				named[string(own)] = snapshotRecord{namespace, string(name)}
			}
			return nil
		})
	})
}

func (k *known) readBlobs(namespace string, blobs *bolt.Bucket) error {
	if blobs == nil {
		return nil
	}
	return blobs.ForEachBucket(func(name []byte) error {
		dgst, err := digest.Parse(string(name))
		if err != nil {
			return nil //nolint:nilerr // containerd skips what is not a digest, too
		}
		size, _ := binary.Varint(blobs.Bucket(name).Get(keySize))
		k.blobs[dgst] = append(k.blobs[dgst], blobRecord{namespace, size})
		return nil
	})
}

func (k *known) readIngests(ingests *bolt.Bucket) error {
	if ingests == nil {
		return nil
	}
	return ingests.ForEachBucket(func(ref []byte) error {
		ingest := ingests.Bucket(ref)
		if own := ingest.Get(keyRef); len(own) > 0 {
			k.ingests[string(own)] = struct{}{}
		}
		if dgst := ingest.Get(keyExpected); len(dgst) > 0 {
			k.expected[digest.Digest(dgst)] = struct{}{}
		}
		return nil
	})
}
