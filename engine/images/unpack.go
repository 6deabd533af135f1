package images

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/unpack"
)

// Unpack makes sure that a variant's layers are snapshots, and names the last one.
func (s *Store) Unpack(ctx context.Context, manifest ocispec.Descriptor) (digest.Digest, error) {
	return unpack.Image(ctx, s.client, manifest, s.snapshotter)
}
