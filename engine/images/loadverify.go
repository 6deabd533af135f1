package images

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// maxLayers bounds the layers of one image: more than any file system stacks.
const maxLayers = 1024

// verify checks what an archive says about an image, and labels the content so that the collector keeps it. Blobs were
// stored by what they are, not by what they were called: one that lies about its digest is missing.
func (s *Store) verify(ctx context.Context, target ocispec.Descriptor, wanted []ocispec.Platform) error {
	blobs := s.client.ContentStore()
	check := &checker{blobs: blobs, hold: s.hold, top: target.Digest, only: s.among(wanted), left: maxVariants}
	// All manifests of an index are labeled, those that are not here, too: they may come later.
	labeled := images.SetChildrenLabels(blobs, images.HandlerFunc(check.children))
	err := images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := labeled(ctx, desc)
		if err != nil || !images.IsIndexType(desc.MediaType) {
			return nil, err
		}
		return check.wanted(ctx, children)
	}), target)
	switch {
	case err != nil:
		return err
	case check.found == 0 && len(wanted) > 0:
		return fault.Errorf(errdefs.ErrNotFound, "requested platform(s) (%s) not found", formatAll(wanted))
	case check.found == 0:
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: no manifest of %s is in it", target.Digest)
	}
	return nil
}

// errMissing says that a blob is neither in the archive nor was it here before.
var errMissing = errors.New("content is missing")

// checker walks an image.
type checker struct {
	blobs content.Store
	hold  func(context.Context, digest.Digest) error
	top   digest.Digest
	only  matcher
	// left bounds the manifests; found counts those that are here.
	left, found int
}

// children are what a blob of an image points to, checked.
func (c *checker) children(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %w", err)
	}
	switch {
	case images.IsIndexType(desc.MediaType):
		return c.index(ctx, desc)
	case images.IsManifestType(desc.MediaType):
		return c.manifest(ctx, desc)
	}
	return nil, nil
}

// index is the manifests of an index.
func (c *checker) index(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var list ocispec.Index
	if err := c.read(ctx, desc, &list); err != nil {
		return nil, err
	}
	if c.left -= len(list.Manifests); c.left < 0 {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: more than %d manifests in an image", maxVariants)
	}
	for _, m := range list.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %w", err)
		}
	}
	return list.Manifests, nil
}

// wanted is the manifests of an index to look into. That some are not in the archive is no fault.
func (c *checker) wanted(ctx context.Context, list []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var here []ocispec.Descriptor
	for _, m := range list {
		if m.Platform != nil && !c.only.match(*m.Platform) {
			continue
		}
		if _, err := c.blobs.Info(ctx, m.Digest); errdefs.IsNotFound(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		here = append(here, m)
	}
	return here, nil
}

// manifest is the configuration and layers of a manifest. Of an index, some manifests may be here without the rest.
func (c *checker) manifest(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	list, err := c.complete(ctx, desc)
	if errors.Is(err, errMissing) && desc.Digest != c.top {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.found++
	return list, nil
}

func (c *checker) complete(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if err := c.read(ctx, desc, &m); err != nil {
		return nil, err
	}
	if len(m.Layers) > maxLayers {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %d layers in an image", len(m.Layers))
	}
	list := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	for _, d := range list {
		if err := c.have(ctx, d); err != nil {
			return nil, err
		}
	}
	if v := (&variant{desc: desc, kind: runnable}); c.isImage(v, m) {
		return list, c.config(ctx, m)
	}
	return list, nil
}

func (c *checker) isImage(v *variant, m ocispec.Manifest) bool {
	v.classify(m)
	return v.kind == runnable
}

// config says no to an image whose layers are not those of its configuration.
func (c *checker) config(ctx context.Context, m ocispec.Manifest) error {
	var cfg ocispec.Image
	if err := c.read(ctx, m.Config, &cfg); err != nil {
		return err
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid manifest, layers length mismatch: expected %d, got %d", len(cfg.RootFS.DiffIDs), len(m.Layers))
	}
	for _, d := range cfg.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: diff ID %q: %w", d, err)
		}
	}
	return nil
}

// have says whether a blob is in the archive, or was here before, as large as it is said to be.
func (c *checker) have(ctx context.Context, d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %w", err)
	}
	// Held first: what was here before may be about to be collected.
	if err := c.hold(ctx, d.Digest); err != nil {
		return err
	}
	info, err := c.blobs.Info(ctx, d.Digest)
	switch {
	case errdefs.IsNotFound(err) && images.IsNonDistributable(d.MediaType):
		return nil
	case errdefs.IsNotFound(err):
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %w: %s", errMissing, d.Digest)
	case err != nil:
		return err
	case info.Size != d.Size:
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid archive: %s has %d bytes, not %d", d.Digest, info.Size, d.Size)
	}
	return nil
}

func (c *checker) read(ctx context.Context, d ocispec.Descriptor, v any) error {
	if err := c.have(ctx, d); err != nil {
		return err
	}
	return readJSON(ctx, c.blobs, d, v)
}
