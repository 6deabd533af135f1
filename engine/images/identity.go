package images

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// buildRefLabel begins the labels that a build leaves on what it made.
const buildRefLabel = "moby/build.ref."

// identity says where an image came from, by the labels of its content; nil when nothing is known.
func (s *Store) identity(ctx context.Context, target ocispec.Descriptor) (*api.Identity, error) {
	info, err := s.client.ContentStore().Info(ctx, target.Digest)
	if err != nil {
		return nil, err
	}
	var id api.Identity
	seen := map[string]bool{}
	for k, v := range info.Labels {
		if ref, ok := strings.CutPrefix(k, buildRefLabel); ok {
			var b struct {
				CreatedAt *time.Time `json:"createdAt"`
			}
			if json.Unmarshal([]byte(v), &b) == nil {
				build := api.BuildIdentity{Ref: ref}
				if b.CreatedAt != nil {
					build.CreatedAt = *b.CreatedAt
				}
				id.Build = append(id.Build, build)
			}
		}
		registry, ok := strings.CutPrefix(k, labels.LabelDistributionSource+".")
		if !ok {
			continue
		}
		for repo := range strings.SplitSeq(v, ",") {
			if ref, err := reference.ParseNormalizedNamed(registry + "/" + repo); err == nil && !seen[ref.Name()] {
				seen[ref.Name()] = true
				id.Pull = append(id.Pull, api.PullIdentity{Repository: ref.Name()})
			}
		}
	}
	if len(id.Build) == 0 && len(id.Pull) == 0 {
		return nil, nil
	}
	slices.SortFunc(id.Build, func(a, b api.BuildIdentity) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.SortFunc(id.Pull, func(a, b api.PullIdentity) int { return cmp.Compare(a.Repository, b.Repository) })
	return &id, nil
}

// identify fills in where the variants of an image came from.
func (s *Store) identify(ctx context.Context, target ocispec.Descriptor, list []api.ManifestSummary) {
	id, err := s.identity(ctx, target)
	if err != nil || id == nil {
		return
	}
	for i := range list {
		if list[i].ImageData != nil && list[i].Available {
			list[i].ImageData.Identity = id
		}
	}
}
