package images

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Save writes images into an archive that is both an OCI layout and what docker load always read. A name without a tag
// means all tags of the repository. With platforms, only these.
func (s *Store) Save(ctx context.Context, list []string, wanted []ocispec.Platform, out io.Writer) (err error) {
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return err
	}
	// Nothing was made that would have to go.
	defer func() { done(nil) }()
	opts := []archive.ExportOpt{
		archive.WithSkipNonDistributableBlobs(), archive.WithPlatform(s.among(wanted)), archive.WithSkipMissing(s.client.ContentStore()),
	}
	for _, name := range list {
		chosen, err := s.chosen(ctx, name)
		if err != nil {
			return err
		}
		for _, c := range chosen {
			opt, err := s.exported(ctx, c, wanted)
			if err != nil {
				return err
			}
			opts = append(opts, opt)
		}
	}
	return s.client.Export(ctx, out, opts...)
}

// choice is a record to save, and the name that it gets; empty for none.
type choice struct {
	record images.Image
	name   string
}

// chosen is the records that a client's name means.
func (s *Store) chosen(ctx context.Context, name string) ([]choice, error) {
	record, findErr := s.find(ctx, name)
	ref, refErr := reference.ParseNormalizedNamed(name)
	byDigest := findErr == nil && strings.HasPrefix(record.Target.Digest.Encoded(), strings.TrimPrefix(name, "sha256:"))
	if refErr == nil {
		if _, ok := ref.(reference.Digested); ok {
			byDigest = true
		}
		if (findErr != nil || !byDigest) && reference.IsNameOnly(ref) {
			return s.repository(ref)
		}
	}
	switch {
	case findErr != nil:
		return nil, findErr
	case byDigest:
		return []choice{{record: record}}, nil
	case refErr != nil:
		return nil, fault.As(errdefs.ErrInvalidArgument, refErr)
	}
	return []choice{{record, ref.String()}}, nil
}

// repository is all tags of a repository.
func (s *Store) repository(repo reference.Named) ([]choice, error) {
	var list []choice
	for _, img := range s.index.all() {
		ref, err := reference.ParseNamed(img.Name)
		if err != nil || ref.Name() != repo.Name() {
			continue
		}
		if _, ok := ref.(reference.Tagged); ok {
			list = append(list, choice{img, ref.String()})
		}
	}
	if len(list) == 0 {
		return nil, noSuchImage(repo)
	}
	return list, nil
}

// exported is the option that puts an image into an archive. Its content is held until the archive is written.
func (s *Store) exported(ctx context.Context, c choice, wanted []ocispec.Platform) (archive.ExportOpt, error) {
	target := c.record.Target
	if len(wanted) == 1 {
		v, err := s.variantOf(ctx, c.record, &wanted[0])
		if err != nil {
			return nil, fmt.Errorf("no suitable export target found: %w", err)
		}
		target = v.desc
	}
	f, err := s.factsOf(ctx, c.record.Target)
	if err != nil {
		return nil, err
	}
	for _, d := range append(once(f.content), f.indexes...) {
		if err := s.hold(ctx, d.Digest); err != nil {
			return nil, err
		}
	}
	s.told(ctx, target, events.ActionSave, target.Digest.String())
	if c.name != "" {
		return archive.WithManifest(target, c.name), nil
	}
	// A name among the annotations would become the image's.
	plain := map[string]string{}
	for k, v := range target.Annotations {
		if k != images.AnnotationImageName && k != ocispec.AnnotationRefName {
			plain[k] = v
		}
	}
	target.Annotations = plain
	return archive.WithManifest(target), nil
}
