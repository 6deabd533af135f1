package images

import (
	"context"
	"log/slog"
	"maps"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Tag gives an image another name, which may have pointed elsewhere before.
func (s *Store) Tag(ctx context.Context, img *Image, name string) error {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	if err := s.fresh(ctx); err != nil {
		return err
	}
	var labels map[string]string
	if list := s.index.targeting(img.Target.Digest); len(list) > 0 {
		labels = list[0].Labels
	}
	return s.Place(ctx, images.Image{Name: reference.TagNameOnly(ref).String(), Target: img.Target, Labels: labels})
}

// Place makes a record, in the place of one that has its name. An image that loses its last name by that stays, without
// a name.
func (s *Store) Place(ctx context.Context, img images.Image) error {
	if err := s.place(ctx, img); err != nil {
		return err
	}
	if !isDangling(img) {
		s.told(ctx, img.Target, events.ActionTag, familiar(img))
	}
	return nil
}

// place is Place without an event.
func (s *Store) place(ctx context.Context, img images.Image) error {
	if err := s.fresh(ctx); err != nil {
		return err
	}
	_, err := s.Records().Create(ctx, img)
	if errdefs.IsAlreadyExists(err) {
		err = s.replace(ctx, img)
	}
	if err != nil || isDangling(img) {
		return err
	}
	if _, ok := s.index.get(danglingName(img.Target.Digest)); !ok {
		return nil
	}
	if err := s.Records().Delete(ctx, danglingName(img.Target.Digest)); err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("an image has a name and is still kept as one without", "image", img.Name, "error", err)
	}
	return nil
}

// replace points a name that exists to another image.
func (s *Store) replace(ctx context.Context, img images.Image) error {
	if err := s.refresh(ctx, img.Name); err != nil {
		return err
	}
	if old, ok := s.index.get(img.Name); ok && old.Target.Digest != img.Target.Digest {
		if err := s.keepNameless(ctx, old); err != nil {
			return err
		}
	}
	// From here on it is done as a whole, whether or not the client waits.
	_, err := s.Records().Update(context.WithoutCancel(ctx), img)
	if errdefs.IsNotFound(err) {
		_, err = s.Records().Create(context.WithoutCancel(ctx), img)
	}
	return err
}

// keepNameless makes a record without a name for an image whose last name will be taken.
func (s *Store) keepNameless(ctx context.Context, old images.Image) error {
	if len(s.index.targeting(old.Target.Digest)) > 1 || isDangling(old) {
		return nil
	}
	labels := maps.Clone(old.Labels)
	delete(labels, images.AnnotationImageName)
	delete(labels, ocispec.AnnotationRefName)
	_, err := s.Records().Create(context.WithoutCancel(ctx), images.Image{
		Name: danglingName(old.Target.Digest), Target: old.Target, Labels: labels, CreatedAt: old.CreatedAt,
	})
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// told publishes what happened to an image that is still there, with the labels of its configuration.
func (s *Store) told(ctx context.Context, target ocispec.Descriptor, action events.Action, name string) {
	attributes := map[string]string{}
	if f, err := s.factsOf(context.WithoutCancel(ctx), target); err == nil {
		if v := f.best(s.anyFor(), true); v != nil {
			maps.Copy(attributes, v.config.Config.Labels)
		}
	}
	s.tell(target, action, name, attributes)
}

func (s *Store) tell(target ocispec.Descriptor, action events.Action, name string, attributes map[string]string) {
	if attributes == nil {
		attributes = map[string]string{}
	}
	if name != "" {
		attributes["name"] = name
	}
	s.events.Publish(events.ImageEventType, action, target.Digest.String(), attributes)
}

// TagByName is Tag for an image that a client named.
func (s *Store) TagByName(ctx context.Context, name, newName string) error {
	img, err := s.Resolve(ctx, name, nil)
	if err != nil {
		return fault.As(errdefs.ErrNotFound, err) // even when there cannot be such an image
	}
	return s.Tag(ctx, img, newName)
}
