package images

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// History is how an image came to be, the last step first. Steps that have an image of their own are told by its id.
func (s *Store) History(ctx context.Context, name string, platform *ocispec.Platform) ([]api.HistoryResponseItem, error) {
	record, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := s.variantOf(ctx, record, platform)
	if err != nil {
		return nil, err
	}
	var list []api.HistoryResponseItem
	layer := 0
	for _, h := range v.config.History {
		item := api.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if layer >= len(v.chains) {
				return nil, errors.New("unable to find the size of the layer")
			}
			if item.Size, err = s.snapshotSizeOr0(ctx, v.chains[layer]); err != nil {
				return nil, err
			}
			layer++
		}
		list = append(list, item)
	}
	slices.Reverse(list)
	s.nameSteps(list, record)
	return list, nil
}

// nameSteps fills in the ids and names of the images that an image was built on.
func (s *Store) nameSteps(list []api.HistoryResponseItem, record images.Image) {
	for i := range list {
		list[i].ID = record.Target.Digest.String()
		list[i].Tags = tagsOf(s.index.targeting(record.Target.Digest))
		parents := s.index.targeting(digest.Digest(record.Labels[parentLabel]))
		if len(parents) == 0 {
			return
		}
		record = parents[0]
		// The one that goes on, where there are several.
		for _, p := range parents {
			if p.Labels[parentLabel] != "" {
				record = p
			}
		}
	}
}

// tagsOf is the names of records, as clients write them; nil when there are none.
func tagsOf(records []images.Image) []string {
	var tags []string
	for _, img := range records {
		if isDangling(img) {
			continue
		}
		if ref, err := reference.ParseNamed(img.Name); err == nil {
			tags = append(tags, reference.FamiliarString(ref))
		}
	}
	return tags
}
