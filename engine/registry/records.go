package registry

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// danglingPrefix begins the names of images that lost theirs; the digest follows.
const danglingPrefix = "moby-dangling@"

func danglingName(d digest.Digest) string { return danglingPrefix + d.String() }

// record is what a name points to; nil when there is none.
func (s *Service) record(ctx context.Context, name string) (*images.Image, error) {
	image, err := s.records.Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &image, nil
}

// before is what a reference points to before a pull. What a digest names is there as soon as any tag of the repository
// points to it.
func (s *Service) before(ctx context.Context, ref reference.Named) (*images.Image, error) {
	digested, ok := ref.(reference.Digested)
	if !ok {
		return s.record(ctx, ref.String())
	}
	all, err := s.records.List(ctx, "target.digest=="+digested.Digest().String())
	if err != nil {
		return nil, err
	}
	for _, image := range all {
		if named, err := reference.ParseNormalizedNamed(image.Name); err == nil && named.Name() == ref.Name() {
			return &image, nil
		}
	}
	return nil, nil
}

// put points a name to a target. The image that it pointed to before is kept without a name. Once begun it is finished,
// whether the client waits or not.
func (s *Service) put(ctx context.Context, image images.Image, old *images.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if old != nil && old.Target.Digest != image.Target.Digest {
		if err := s.keep(ctx, *old); err != nil {
			slog.Warn("the image that a pull replaced is not kept", "name", old.Name, "error", err)
		}
	}
	if err := s.create(ctx, image); err != nil {
		return err
	}
	// It has a name again.
	if err := s.records.Delete(ctx, danglingName(image.Target.Digest)); err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("a nameless record is left", "digest", image.Target.Digest, "error", err)
	}
	return nil
}

// keep gives an image that loses its last name a record without one.
func (s *Service) keep(ctx context.Context, old images.Image) error {
	names, err := s.records.List(ctx, "target.digest=="+old.Target.Digest.String())
	if err != nil {
		return err
	}
	if len(names) > 1 {
		return nil
	}
	left := images.Image{Name: danglingName(old.Target.Digest), Target: old.Target, Labels: maps.Clone(old.Labels)}
	delete(left.Labels, images.AnnotationImageName)
	delete(left.Labels, ocispec.AnnotationRefName)
	if _, err := s.records.Create(ctx, left); !errdefs.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// create makes a record or changes it.
func (s *Service) create(ctx context.Context, image images.Image) error {
	for {
		_, err := s.records.Create(ctx, image)
		if !errdefs.IsAlreadyExists(err) {
			return err
		}
		// Somebody may remove it in between.
		if _, err = s.records.Update(ctx, image); !errdefs.IsNotFound(err) {
			return err
		}
	}
}

// publish tells that an image was pulled or pushed, with the labels of its configuration.
func (s *Service) publish(ctx context.Context, action api.Action, ref reference.Named, target ocispec.Descriptor, m platforms.MatchComparer) {
	if s.events == nil {
		return
	}
	attributes := map[string]string{}
	maps.Copy(attributes, labelsOf(context.WithoutCancel(ctx), s.client.ContentStore(), target, m))
	attributes["name"] = reference.FamiliarName(ref)
	s.events.Publish(api.ImageEventType, action, reference.FamiliarString(ref), attributes)
}

// labelsOf are those of an image's configuration, if it has any that can be read.
func labelsOf(ctx context.Context, store content.Store, target ocispec.Descriptor, m platforms.MatchComparer) map[string]string {
	desc, err := images.Config(ctx, store, target, m)
	if err != nil || desc.Size > maxConfig {
		return nil
	}
	b, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return nil
	}
	var config dockerspec.DockerOCIImage
	if err := json.Unmarshal(b, &config); err != nil {
		return nil
	}
	return config.Config.Labels
}
