package images

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Built notes that BuildKit made an image in a build of an id, and tells of it and its names.
func (s *Store) Built(ctx context.Context, build string, image digest.Digest, names []string) {
	ctx = context.WithoutCancel(ctx)
	label := buildRefLabel + build
	v, err := json.Marshal(map[string]time.Time{"createdAt": time.Now()})
	if err == nil {
		info := content.Info{Digest: image, Labels: map[string]string{label: string(v)}}
		_, err = s.client.ContentStore().Update(ctx, info, "labels."+label)
	}
	if err != nil {
		slog.Warn("an image will not tell which build made it", "image", image, "error", err)
	}
	for _, name := range append(names, danglingName(image)) {
		if err := s.refresh(ctx, name); err != nil { // Its event may come later than the client's next question.
			slog.Warn("an image that was built may appear late", "image", image, "error", err)
		}
	}
	target := ocispec.Descriptor{Digest: image}
	if list := s.index.targeting(image); len(list) > 0 {
		target = list[0].Target
	}
	s.told(ctx, target, events.ActionCreate, image.String())
	for _, name := range names {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			s.told(ctx, target, events.ActionTag, reference.FamiliarString(reference.TagNameOnly(ref)))
		}
	}
}
