package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/go-archive/compression"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Load takes images out of an archive of docker save or an OCI layout, compressed or not, and tells each one in a line.
// With platforms, only these; each image must then have one of them.
func (s *Store) Load(ctx context.Context, body io.Reader, wanted []ocispec.Platform, say func(line string)) (err error) {
	from := &counted{Reader: body}
	plain, err := compression.DecompressStream(from)
	if err != nil {
		return fmt.Errorf("failed to decompress input tar archive: %w", err)
	}
	defer plain.Close()
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer func() { done(err) }()

	blobs := &ingest{Store: s.client.ContentStore(), prefix: leaseOf(ctx)}
	top, err := archive.ImportIndex(ctx, blobs, &bounded{plain: plain, from: from})
	if err != nil {
		return err
	}
	loaded, err := s.loadIndex(ctx, top, wanted)
	if err != nil {
		return err
	}
	for _, img := range loaded {
		s.unpackLoaded(ctx, img, wanted, say)
	}
	return nil
}

// loadIndex checks the images of an archive's index and makes records for them.
func (s *Store) loadIndex(ctx context.Context, top ocispec.Descriptor, wanted []ocispec.Platform) ([]images.Image, error) {
	var list ocispec.Index
	if err := readJSON(ctx, s.client.ContentStore(), top, &list); err != nil {
		return nil, fmt.Errorf("failed to read the archive's index: %w", err)
	}
	if len(list.Manifests) > maxVariants {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "the archive has more than %d images", maxVariants)
	}
	var loaded []images.Image
	for _, m := range list.Manifests {
		if _, referrer := m.Annotations[images.AnnotationManifestSubject]; referrer {
			continue
		}
		img, err := s.loadable(ctx, m, wanted)
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, img)
	}
	if len(wanted) > 0 && len(loaded) == 0 {
		return nil, fault.Errorf(errdefs.ErrNotFound, "requested platform(s) (%s) not found: %w", formatAll(wanted), images.ErrEmptyWalk)
	}
	if len(loaded) == 0 {
		return nil, images.ErrEmptyWalk
	}
	for _, img := range loaded {
		if err := s.place(ctx, img); err != nil {
			return nil, err
		}
	}
	return loaded, s.checkLoaded(ctx, loaded, wanted)
}

// loadable is the record for an entry of an archive's index, when its content is there and what it says.
func (s *Store) loadable(ctx context.Context, m ocispec.Descriptor, wanted []ocispec.Platform) (images.Image, error) {
	if err := s.verify(ctx, m, wanted); err != nil {
		return images.Image{}, err
	}
	name := nameOf(m)
	// The manager does not keep it.
	m.Platform = nil
	if name == "" {
		name = danglingName(m.Digest)
	}
	return images.Image{Name: name, Target: m}, nil
}

// nameOf is the full name that an archive gives an image; empty when it gives none, or none that could be.
func nameOf(m ocispec.Descriptor) string {
	name := m.Annotations[images.AnnotationImageName]
	if name == "" {
		name = m.Annotations[ocispec.AnnotationRefName]
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(ref).String()
}

// checkLoaded says which images lack the platforms that were wanted.
func (s *Store) checkLoaded(ctx context.Context, loaded []images.Image, wanted []ocispec.Platform) error {
	if len(wanted) == 0 {
		return nil
	}
	var lacking []string
	for _, img := range loaded {
		f, err := s.factsOf(ctx, img.Target)
		if err != nil {
			return err
		}
		if v := f.best(s.among(wanted), true); v == nil || !v.available {
			lacking = append(lacking, familiar(img))
		}
	}
	switch len(lacking) {
	case 0:
		return nil
	case 1:
		return fault.Errorf(errdefs.ErrNotFound, "image %s was loaded, but doesn't provide the requested platform (%s)", lacking[0], formatAll(wanted))
	}
	return fault.Errorf(errdefs.ErrNotFound, "images [%s] were loaded, but don't provide the requested platform (%s)",
		strings.Join(lacking, ", "), formatAll(wanted))
}

// unpackLoaded makes a loaded image ready to run, and tells of it. Failure is told, too: the image stays.
func (s *Store) unpackLoaded(ctx context.Context, img images.Image, wanted []ocispec.Platform, say func(string)) {
	name, what := familiar(img), "Loaded image"
	if isDangling(img) {
		what = "Loaded image ID"
	}
	err := s.unpackVariants(ctx, img.Target, wanted)
	say(what + ": " + name + "\n")
	s.told(ctx, img.Target, events.ActionLoad, img.Target.Digest.String())
	if err != nil {
		say(fmt.Sprintf("Error unpacking image %s: %v\n", name, err))
	}
}

// unpackVariants unpacks what this machine can run, or what was asked for.
func (s *Store) unpackVariants(ctx context.Context, target ocispec.Descriptor, wanted []ocispec.Platform) error {
	f, err := s.factsOf(ctx, target)
	if err != nil {
		return err
	}
	runs := s.hostOnly()
	if len(wanted) > 0 {
		runs = s.among(wanted)
	}
	var errs []error
	for _, v := range f.variants {
		if v.kind != runnable || !v.readable || !runs.match(v.platform) {
			continue
		}
		if _, err := s.Unpack(ctx, v.desc); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
