package registry

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
)

// pushed tells programs what a push has made. Clients have read it from the stream since Docker 1.10.
type pushed struct {
	Tag    string
	Digest string
	Size   int64
}

// Push brings an image to its registry. A reference without a tag or a
// digest stands for all tags of its repository.
func (s *Service) Push(ctx context.Context, ref reference.Named, r Request, out *progress.Writer) error {
	out.Message("", fmt.Sprintf("The push refers to repository [%s]", ref.Name()))
	if !reference.IsNameOnly(ref) {
		return s.pushOne(ctx, ref, r.Platform, s.session(ref, r), out)
	}
	pattern := "^" + regexp.QuoteMeta(ref.Name()) + ":" + reference.TagRegexp.String() + "$"
	found, err := s.records.List(ctx, "name~="+strconv.Quote(pattern))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("An image does not exist locally with the tag: %s", reference.FamiliarName(ref)) //nolint:staticcheck // clients know these words
	}
	for _, image := range found {
		named, err := reference.ParseNamed(image.Name)
		if err != nil {
			continue // no name of Docker's
		}
		if err := s.pushOne(ctx, named, r.Platform, s.session(ref, r), out); err != nil {
			return err
		}
	}
	return nil
}

// push is one name's image on its way to a registry.
type push struct {
	s     *Service
	n     *session
	ref   reference.Named
	store content.Store
	image images.Image
	told  *uploads
	// wanted is the platform, or nil.
	wanted *ocispec.Platform
}

func (s *Service) pushOne(ctx context.Context, ref reference.Named, platform *ocispec.Platform, n *session, out *progress.Writer) (failed error) {
	defer n.end()
	ctx, end, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer func() { end(false) }()
	image, err := s.record(ctx, ref.String())
	if err != nil {
		return err
	}
	if image == nil {
		return fault.Errorf(errdefs.ErrNotFound, "tag does not exist: %s", reference.FamiliarString(ref))
	}
	p := &push{s: s, n: n, ref: ref, store: s.client.ContentStore(), image: *image, wanted: platform}
	p.told = &uploads{out: out, tracker: n.tracker}
	target := image.Target
	if platform != nil {
		if target, err = p.choose(ctx); err != nil {
			return err
		}
	}
	stop := p.told.watch(ctx)
	target, err = p.send(ctx, target)
	stop()
	if err != nil {
		return err
	}
	p.label(ctx, target)
	s.publish(ctx, "push", ref, target, platforms.Only(s.platform))
	if t, ok := ref.(reference.Tagged); ok {
		out.Message("", fmt.Sprintf("%s: digest: %s size: %d", t.Tag(), target.Digest, target.Size))
		out.Aux(pushed{Tag: t.Tag(), Digest: target.Digest.String(), Size: target.Size})
	}
	return nil
}

// send pushes a target, and tells which one it was: an index whose content is not all here cannot be pushed, and one of
// its manifests may take its place.
func (p *push) send(ctx context.Context, target ocispec.Descriptor) (ocispec.Descriptor, error) {
	err := p.try(ctx, target)
	if err == nil {
		return target, nil
	}
	if errdefs.IsNotFound(err) && images.IsIndexType(target.MediaType) && p.wanted == nil {
		instead, chooseErr := p.choose(ctx)
		if chooseErr != nil {
			return target, chooseErr
		}
		if instead.Digest != target.Digest {
			p.told.giveUpWaiting()
			if err = p.try(ctx, instead); err == nil {
				p.told.out.Aux(auxprogress.ManifestPushedInsteadOfIndex{
					ManifestPushedInsteadOfIndex: true, OriginalIndex: target, SelectedManifest: instead,
				})
				return instead, nil
			}
			target = instead
		}
	}
	if ctx.Err() != nil {
		return target, context.Cause(ctx)
	}
	if !errdefs.IsNotFound(err) {
		return target, registryError(err)
	}
	p.told.out.Aux(auxprogress.ContentMissing{ContentMissing: true, Desc: target})
	return target, fault.As(errdefs.ErrNotFound, err)
}

// try pushes a target with all that belongs to it.
func (p *push) try(ctx context.Context, target ocispec.Descriptor) error {
	elsewhere, err := p.mountable(ctx, target)
	if err != nil {
		return err
	}
	// The digest beside the tag makes it the target's alone: what belongs to it is pushed without a tag.
	ref := p.ref
	if _, ok := ref.(reference.Digested); !ok {
		if ref, err = reference.WithDigest(ref, target.Digest); err != nil {
			return err
		}
	}
	pusher, err := p.n.resolver(ctx).Pusher(ctx, ref.String())
	if err != nil {
		return err
	}
	show := func(h images.Handler) images.Handler {
		return images.Handlers(images.HandlerFunc(func(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			p.told.add(desc)
			return nil, nil
		}), h)
	}
	store := partial{Store: p.store, elsewhere: elsewhere}
	return remotes.PushContent(ctx, pusher, target, store, p.n.uploads, platforms.All, show)
}

// label remembers at the content that the repository has it, for pushes to others of the same registry.
func (p *push) label(ctx context.Context, target ocispec.Descriptor) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	source, err := docker.AppendDistributionSourceLabel(p.store, p.ref.String())
	if err == nil {
		err = images.Dispatch(ctx, present(p.store, source), nil, target)
	}
	if err != nil {
		slog.Warn("pushed content is not labeled with its repository", "name", p.ref.String(), "error", err)
	}
}

// present walks what is there of a target.
func present(store content.Store, h images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if _, err := store.Info(ctx, desc.Digest); errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		if _, err := h(ctx, desc); err != nil {
			return nil, err
		}
		return images.Children(ctx, store, desc)
	}
}
