package store

import (
	"bytes"
	"container/list"
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifests, indexes and configs are JSON, and seldom larger than this; all of them together may take this much.
const (
	memoryBlob  = 256 << 10
	memoryTotal = 8 << 20
)

// memory keeps the bytes of small JSON blobs, the least recently read of which goes first. It lies below the metadata
// database, which asks its own (mapped) pages in each call whether the namespace has the blob: so labels, namespaces,
// deletion and collection are seen at once without any word of them here, and what is kept is nothing but bytes, which
// their digest makes immutable. A blob that is deleted from the disk is forgotten.
type memory struct {
	content.Store
	mu      sync.Mutex
	blobs   map[digest.Digest]*list.Element // of blob
	order   *list.List                      // the last one read is in front
	size    int                             // bytes, of all
	deleted uint64                          // how many were; a read that one overtakes keeps nothing
}

type blob struct {
	dgst digest.Digest
	data []byte
}

func newMemory(disk content.Store) *memory {
	return &memory{Store: disk, blobs: map[digest.Digest]*list.Element{}, order: list.New()}
}

// ReaderAt answers from memory where it can.
func (m *memory) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	m.mu.Lock()
	if e, ok := m.blobs[desc.Digest]; ok {
		m.order.MoveToFront(e)
		data := e.Value.(blob).data
		m.mu.Unlock()
		return blobReader{bytes.NewReader(data)}, nil
	}
	deleted := m.deleted
	m.mu.Unlock()

	r, err := m.Store.ReaderAt(ctx, desc)
	if err != nil || r.Size() > memoryBlob {
		return r, err
	}
	data := make([]byte, r.Size())
	if _, err := r.ReadAt(data[:min(len(data), 1)], 0); err != nil || len(data) == 0 || data[0] != '{' {
		return r, nil //nolint:nilerr // whoever reads it meets the error
	}
	if n, err := r.ReadAt(data, 0); n < len(data) && err != nil {
		return r, nil //nolint:nilerr // whoever reads it meets the error
	}
	m.keep(blob{desc.Digest, data}, deleted)
	_ = r.Close() // opened for reading: nothing can be lost
	return blobReader{bytes.NewReader(data)}, nil
}

// Delete forgets the blob, too.
func (m *memory) Delete(ctx context.Context, dgst digest.Digest) error {
	err := m.Store.Delete(ctx, dgst)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deleted++
	if e, ok := m.blobs[dgst]; ok {
		m.drop(e)
	}
	return err
}

func (m *memory) keep(b blob, deleted uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blobs[b.dgst]; ok || m.deleted != deleted {
		return
	}
	m.blobs[b.dgst] = m.order.PushFront(b)
	m.size += len(b.data)
	for m.size > memoryTotal {
		m.drop(m.order.Back())
	}
}

// drop forgets one. The caller has the lock.
func (m *memory) drop(e *list.Element) {
	b := m.order.Remove(e).(blob)
	delete(m.blobs, b.dgst)
	m.size -= len(b.data)
}

type blobReader struct{ *bytes.Reader }

// Close has nothing to do.
func (blobReader) Close() error { return nil }
