package registry

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of manifests that are about another one and run nowhere, and the type that says how an image was built.
const (
	attestation        = "vnd.docker.reference.type"
	attestationOf      = "vnd.docker.reference.digest"
	attestationOfBuild = "attestation-manifest"
)

func isAttestation(desc ocispec.Descriptor) bool {
	_, ok := desc.Annotations[attestation]
	return ok
}

// withAttestations adds to the manifest that was chosen from an index those that say how it was built. They are for no
// platform, so choosing by platform drops them.
func (p *pull) withAttestations(next images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		chosen, err := next(ctx, desc)
		if err != nil || !images.IsIndexType(desc.MediaType) {
			return chosen, err
		}
		all, err := p.children(ctx, desc)
		if err != nil {
			return nil, err
		}
		wanted := map[string]bool{}
		for _, c := range chosen {
			wanted[c.Digest.String()] = true
		}
		for _, c := range all {
			about := c.Annotations[attestationOf]
			if c.Annotations[attestation] == attestationOfBuild && wanted[about] && !wanted[c.Digest.String()] {
				c.Platform = nil
				chosen = append(chosen, c)
			}
		}
		return chosen, nil
	}
}
