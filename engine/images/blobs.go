package images

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

const (
	// refLabel, on a blob, begins labels that keep other blobs from the collector; snapshotLabel with the snapshotter's
	// name keeps a snapshot.
	refLabel      = "containerd.io/gc.ref.content."
	snapshotLabel = "containerd.io/gc.ref.snapshot."
	// uncompressedLabel, on a layer, is the digest of what is in it.
	uncompressedLabel = "containerd.io/uncompressed"
)

// writeJSON stores a value as a blob. The labels are set on a blob that was there, too.
func (s *Store) writeJSON(ctx context.Context, kind string, v any, labels map[string]string) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(b), Size: int64(len(b))}
	blobs := s.client.ContentStore()
	ref := leaseOf(ctx) + "-" + desc.Digest.String()
	if err := content.WriteBlob(ctx, blobs, ref, bytes.NewReader(b), desc, content.WithLabels(labels)); err != nil {
		return ocispec.Descriptor{}, err
	}
	if len(labels) == 0 {
		return desc, nil
	}
	var fields []string
	for k := range labels {
		fields = append(fields, "labels."+k)
	}
	_, err = blobs.Update(ctx, content.Info{Digest: desc.Digest, Labels: labels}, fields...)
	return desc, err
}

// writeImage stores a configuration and the manifest over it.
func (s *Store) writeImage(ctx context.Context, config dockerspec.DockerOCIImage, layers []ocispec.Descriptor, labels map[string]string) (ocispec.Descriptor, error) {
	keep := map[string]string{}
	maps.Copy(keep, labels)
	if ids := config.RootFS.DiffIDs; len(ids) > 0 {
		keep[snapshotLabel+s.snapshotter] = identity.ChainID(append([]digest.Digest(nil), ids...)).String()
	}
	configDesc, err := s.writeJSON(ctx, ocispec.MediaTypeImageConfig, config, keep)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if layers == nil {
		layers = []ocispec.Descriptor{}
	}
	refs := map[string]string{refLabel + "config": configDesc.Digest.String()}
	for i, l := range layers {
		refs[refLabel+"l."+strconv.Itoa(i)] = l.Digest.String()
	}
	return s.writeJSON(ctx, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: configDesc, Layers: layers,
	}, refs)
}
