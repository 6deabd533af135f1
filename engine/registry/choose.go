package registry

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// candidate is a manifest that could be pushed.
type candidate struct {
	desc     ocispec.Descriptor
	platform ocispec.Platform
}

// choose finds what of an image can be pushed: all of it when it is here, otherwise the manifest that is meant.
func (p *push) choose(ctx context.Context) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	found, complete, err := p.candidates(ctx)
	if err != nil {
		return none, err
	}
	switch {
	case len(found) == 0 && p.wanted != nil:
		return none, fault.Errorf(errdefs.ErrNotFound, "image with reference %s was found but does not provide the specified platform (%s)",
			reference.FamiliarString(p.ref), platforms.FormatAll(*p.wanted))
	case len(found) == 0:
		return none, fault.Errorf(errdefs.ErrNotFound, "image with reference %s was found but does not provide any platform", reference.FamiliarString(p.ref))
	case len(found) == 1 && (p.wanted != nil || !complete):
		return found[0].desc, nil
	case p.wanted != nil:
		return none, fault.Errorf(errdefs.ErrConflict, "multiple manifests found for platform %s", platforms.FormatAll(*p.wanted))
	case complete:
		return p.image.Target, nil
	}
	host := platforms.Only(p.s.platform)
	best := found[0]
	for _, c := range found[1:] {
		if host.Less(c.platform, best.platform) {
			best = c
		}
	}
	if !host.Match(best.platform) {
		return none, fault.Errorf(errdefs.ErrConflict, "multiple matching manifests found but no specific platform requested")
	}
	return best.desc, nil
}

// candidates are the manifests that are all here and for the platform that is wanted; complete says that none of the
// image's lacks anything.
func (p *push) candidates(ctx context.Context) (found []candidate, complete bool, err error) {
	matches := platforms.All
	if p.wanted != nil {
		matches = platforms.OnlyStrict(*p.wanted)
	}
	complete = true
	err = images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if !images.IsManifestType(desc.MediaType) {
			children, err := images.Children(ctx, p.store, desc)
			if errdefs.IsNotFound(err) {
				return nil, nil
			}
			return children, err
		}
		available, _, _, missing, err := images.Check(ctx, p.store, desc, platforms.All)
		if err != nil {
			return nil, err
		}
		if !available || len(missing) > 0 {
			complete = false
			return nil, nil
		}
		if isAttestation(desc) {
			return nil, nil
		}
		platform, err := p.platformOf(ctx, desc)
		if err == nil && matches.Match(platform) {
			found = append(found, candidate{desc, platform})
		}
		return nil, err
	}), p.image.Target)
	return found, complete, err
}

func (p *push) platformOf(ctx context.Context, manifest ocispec.Descriptor) (ocispec.Platform, error) {
	if manifest.Platform != nil {
		return *manifest.Platform, nil
	}
	config, err := images.Config(ctx, p.store, manifest, platforms.All)
	if err != nil {
		return ocispec.Platform{}, err
	}
	return images.ConfigPlatform(ctx, p.store, config)
}
