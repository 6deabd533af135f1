package images

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Rebuild makes the image that comes after a parent (nil for nothing) on the way to another image, as its history tells:
// one more step, with the layer of that step if it has one. The caller has compared the histories.
func (s *Store) Rebuild(ctx context.Context, parent, goal *Image, config *container.Config) (_ *Image, err error) {
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	var base dockerspec.DockerOCIImage
	if parent != nil {
		base = parent.Config
	}
	layers, err := s.parentLayers(ctx, goal)
	if err != nil {
		return nil, err
	}
	n, diffIDs := len(base.History), goal.Config.RootFS.DiffIDs
	if n >= len(goal.Config.History) {
		return nil, errors.New("the image has no further step")
	}
	step := goal.Config.History[n]
	count := len(base.RootFS.DiffIDs)
	if !step.EmptyLayer {
		count++
	}
	if count > len(layers) || count > len(diffIDs) {
		return nil, fmt.Errorf("image %s has fewer layers than its history tells", goal.Target.Digest)
	}
	record := images.Image{Labels: map[string]string{parentLabel: ""}}
	if parent != nil {
		record.Labels[parentLabel] = parent.Target.Digest.String()
	} else {
		record.Labels[fromNothingLabel] = "1"
	}
	record.Target, err = s.writeImage(ctx, dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created: step.Created, Author: goal.Config.Author, Platform: goal.Config.Platform,
			RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: slices.Clone(diffIDs[:count])},
			History: append(slices.Clone(base.History), step),
		},
		Config: ConfigOf(config),
	}, layers[:count], nil)
	if err != nil {
		return nil, err
	}
	return s.committed(ctx, record, "")
}

// Adopt notes that an image was built on another one.
func (s *Store) Adopt(ctx context.Context, img, parent *Image) error {
	for _, record := range s.index.targeting(img.Target.Digest) {
		labels := map[string]string{parentLabel: parent.Target.Digest.String()}
		for k, v := range record.Labels {
			if k != parentLabel {
				labels[k] = v
			}
		}
		record.Labels = labels
		if _, err := s.Records().Update(ctx, record, "labels."+parentLabel); err != nil {
			return err
		}
	}
	return nil
}

// Descends says that an image was built on another one, directly or not.
func (s *Store) Descends(_ context.Context, img *Image, from digest.Digest) bool {
	seen := map[digest.Digest]bool{}
	for p := s.parentOf(img.Target.Digest); p != "" && !seen[p]; p = s.parentOf(p) {
		if p == from {
			return true
		}
		seen[p] = true
	}
	return false
}
