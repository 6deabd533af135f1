package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxJSON bounds an index, manifest or configuration, in bytes: an image is made by strangers.
	maxJSON = 32 << 20
	// maxDepth bounds indexes in indexes, maxVariants the manifests of an image.
	maxDepth, maxVariants = 8, 4096

	// annotationReferenceType and annotationReferenceDigest are BuildKit's marks on attestation manifests.
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
)

// facts is what was read about an image's content, for all of its platforms.
type facts struct {
	variants []*variant
	// size is the content that is here and its unpacked layers, in bytes, over all variants.
	size int64
	// content is the blobs that are here; chains the snapshots of all layers, here or not.
	content []ocispec.Descriptor
	chains  []digest.Digest
	// indexes is the blobs over the manifests; size does not count them.
	indexes []ocispec.Descriptor
	// depends names the blobs and snapshots whose coming or going changes the facts.
	depends map[string]struct{}
	// partial says that something of the content or its snapshots is not here, and may come with another record.
	partial bool
}

// kind is what a manifest is.
type kind int

const (
	unknown kind = iota
	runnable
	attestation
)

// variant is one manifest of an image.
type variant struct {
	desc ocispec.Descriptor
	kind kind
	// present says that the manifest is here, available that all of its content is.
	present, available bool
	// contentSize and unpacked are bytes.
	contentSize, unpacked int64
	platform              ocispec.Platform
	// config is read when readable says so.
	config   dockerspec.DockerOCIImage
	readable bool
	// chains are the snapshots of its layers, the first layer first.
	chains  []digest.Digest
	subject digest.Digest
}

// factsOf is what is known about an image's content, read when it is not known yet.
func (s *Store) factsOf(ctx context.Context, target ocispec.Descriptor) (*facts, error) {
	f, since := s.index.known(target.Digest)
	if f != nil {
		return f.seenAs(target), nil
	}
	f, err := s.readFacts(ctx, target)
	if err != nil {
		return nil, err
	}
	s.index.learn(target.Digest, f, since)
	return f, nil
}

// seenAs is the facts for a descriptor of the same target, whose annotations may be others.
func (f *facts) seenAs(target ocispec.Descriptor) *facts {
	if !images.IsManifestType(target.MediaType) || len(f.variants) != 1 {
		return f
	}
	seen, v := *f, *f.variants[0]
	v.desc = target
	seen.variants = []*variant{&v}
	return &seen
}

func (s *Store) readFacts(ctx context.Context, target ocispec.Descriptor) (*facts, error) {
	r := &reader{store: s, blobs: s.client.ContentStore(), facts: &facts{depends: map[string]struct{}{}}}
	switch {
	case images.IsManifestType(target.MediaType):
		if err := r.manifest(ctx, target); err != nil {
			return nil, err
		}
	case images.IsIndexType(target.MediaType):
		if err := r.index(ctx, target, maxDepth); err != nil {
			return nil, err
		}
	default:
		slog.Warn("an image record points to neither a manifest nor an index", "digest", target.Digest, "type", target.MediaType)
	}
	return r.facts, nil
}

// reader gathers facts.
type reader struct {
	store *Store
	blobs content.Store
	*facts
}

// index reads the manifests of an index, as far as they are here.
func (r *reader) index(ctx context.Context, desc ocispec.Descriptor, depth int) error {
	var list ocispec.Index
	r.depends[desc.Digest.String()] = struct{}{}
	if err := readJSON(ctx, r.blobs, desc, &list); err != nil || depth == 0 {
		r.partial = true
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	r.indexes = append(r.indexes, desc)
	for _, child := range list.Manifests {
		if len(r.variants) >= maxVariants {
			return fmt.Errorf("image %s has more than %d manifests", desc.Digest, maxVariants)
		}
		var err error
		switch {
		case images.IsManifestType(child.MediaType):
			err = r.manifest(ctx, child)
		case images.IsIndexType(child.MediaType):
			err = r.index(ctx, child, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// manifest reads one manifest with what it points to.
func (r *reader) manifest(ctx context.Context, desc ocispec.Descriptor) error {
	v := &variant{desc: desc, kind: runnable}
	r.variants = append(r.variants, v)
	if desc.Platform != nil {
		v.platform = *desc.Platform
	}
	var m ocispec.Manifest
	r.depends[desc.Digest.String()] = struct{}{}
	err := readJSON(ctx, r.blobs, desc, &m)
	if err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("a manifest cannot be read", "digest", desc.Digest, "error", err)
		v.kind, r.partial = unknown, true
		return ctx.Err()
	}
	v.present = err == nil
	r.partial = r.partial || !v.present
	v.classify(m)
	if !v.present {
		return nil
	}
	if err := r.present(ctx, v, append([]ocispec.Descriptor{desc, m.Config}, m.Layers...)); err != nil {
		return err
	}
	if v.kind != runnable {
		return nil
	}
	return r.config(ctx, v, m.Config)
}

// classify tells images from what is only stored like one.
func (v *variant) classify(m ocispec.Manifest) {
	if _, ok := v.desc.Annotations[annotationReferenceType]; ok {
		v.kind = unknown
		if d, err := digest.Parse(v.desc.Annotations[annotationReferenceDigest]); err == nil {
			v.kind, v.subject = attestation, d
		}
		return
	}
	if p := v.desc.Platform; p != nil && p.OS == "unknown" && p.Architecture == "unknown" {
		v.kind = unknown
		return
	}
	for _, l := range m.Layers {
		if images.IsLayerType(l.MediaType) {
			return
		}
	}
	if len(m.Layers) > 0 {
		v.kind = unknown
	}
}

// present sums up what is here of a manifest's content.
func (r *reader) present(ctx context.Context, v *variant, list []ocispec.Descriptor) error {
	v.available = true
	for _, d := range list {
		r.depends[d.Digest.String()] = struct{}{}
		if _, err := r.blobs.Info(ctx, d.Digest); err != nil {
			if !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err) {
				return err
			}
			v.available, r.partial = false, true
			continue
		}
		v.contentSize += d.Size
		r.content = append(r.content, d)
	}
	r.size += v.contentSize
	return nil
}

// config reads a variant's configuration, and the size of its snapshots.
func (r *reader) config(ctx context.Context, v *variant, desc ocispec.Descriptor) error {
	if err := readJSON(ctx, r.blobs, desc, &v.config); err != nil {
		if !errdefs.IsNotFound(err) {
			slog.Warn("an image's configuration cannot be read", "digest", desc.Digest, "error", err)
		}
		v.config, r.partial = dockerspec.DockerOCIImage{}, true
		return ctx.Err()
	}
	v.readable = true
	if v.desc.Platform == nil {
		v.platform = v.config.Platform
	}
	if len(v.config.RootFS.DiffIDs) == 0 {
		return nil
	}
	v.chains = identity.ChainIDs(append([]digest.Digest(nil), v.config.RootFS.DiffIDs...))
	r.chains = append(r.chains, v.chains...)
	for _, c := range v.chains {
		r.depends[c.String()] = struct{}{}
	}
	// Without the topmost one the image is not unpacked, whatever others share of it.
	if _, err := r.store.snapshotSize(ctx, v.chains[len(v.chains)-1]); err != nil {
		if errdefs.IsNotFound(err) {
			r.partial = true
			return nil
		}
		return err
	}
	for _, c := range v.chains {
		size, err := r.store.snapshotSize(ctx, c)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		r.partial = r.partial || err != nil
		v.unpacked += size
	}
	r.size += v.unpacked
	return nil
}

// snapshotSize is the size of one layer's snapshot in bytes.
func (s *Store) snapshotSize(ctx context.Context, chain digest.Digest) (int64, error) {
	if size, ok := s.index.snapshotSize(chain); ok {
		return size, nil
	}
	u, err := s.client.SnapshotService(s.snapshotter).Usage(ctx, chain.String())
	if err != nil {
		return 0, err
	}
	s.index.learnSnapshotSize(chain, u.Size)
	return u.Size, nil
}

// best is the variant that a matcher likes most; nil when there is none. With here, only manifests count that can be
// read.
func (f *facts) best(m matcher, here bool) *variant {
	var best *variant
	for _, v := range f.variants {
		if v.kind != runnable || here && !v.readable || !m.match(v.platform) {
			continue
		}
		if best == nil || m.less(v.platform, best.platform) {
			best = v
		}
	}
	return best
}

// readJSON reads a small blob.
func readJSON(ctx context.Context, blobs content.Provider, desc ocispec.Descriptor, v any) error {
	if desc.Size > maxJSON {
		return fmt.Errorf("%s is too large: %d bytes", desc.Digest, desc.Size)
	}
	if err := desc.Digest.Validate(); err != nil {
		return errors.Join(errdefs.ErrNotFound, err)
	}
	b, err := content.ReadBlob(ctx, blobs, desc)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// snapshotSizeOr0 is snapshotSize, and 0 for a layer that is not unpacked.
func (s *Store) snapshotSizeOr0(ctx context.Context, chain digest.Digest) (int64, error) {
	size, err := s.snapshotSize(ctx, chain)
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	return size, err
}
