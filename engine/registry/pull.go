package registry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/unpack"
)

// Pull brings an image from its registry and unpacks it, for one platform. A reference
// without a tag or a digest stands for all tags of its repository. Nothing is written to out before there is something to
// bring, so that errors until then can be an answer's status.
func (s *Service) Pull(ctx context.Context, ref reference.Named, r Request, out *progress.Writer) error {
	n := s.session(ref, r)
	defer n.end()
	if !reference.IsNameOnly(ref) {
		return s.pullOne(ctx, n, ref, r.Platform, out)
	}
	tags, err := n.tags(ctx)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		tagged, err := reference.WithTag(ref, tag)
		if err != nil {
			slog.Warn("a registry has an invalid tag", "tag", tag, "repository", ref.String())
			continue
		}
		if err := s.pullOne(ctx, n, tagged, r.Platform, out); err != nil {
			return fmt.Errorf("error pulling %s: %w", tagged, err)
		}
	}
	return nil
}

// PullForBuild brings the image of a builder's FROM, with the credentials of a client's configuration file.
func (s *Service) PullForBuild(ctx context.Context, ref reference.Named, platform *ocispec.Platform, auths map[string]registry.AuthConfig, out *progress.Writer) error {
	return s.Pull(ctx, reference.TagNameOnly(ref), Request{Platform: platform, Auth: AuthFor(auths, ref)}, out)
}

// pullOne brings what one tag or digest names.
func (s *Service) pullOne(ctx context.Context, n *session, ref reference.Named, platform *ocispec.Platform, out *progress.Writer) (failed error) {
	p := &pull{s: s, settings: n.settings, ref: ref, platform: s.platform, store: s.client.ContentStore(), out: out}
	if platform != nil {
		p.platform = *platform
	}
	p.matcher = platforms.Only(p.platform)
	old, err := s.before(ctx, ref)
	if err != nil {
		return err
	}
	ctx, end, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer func() { end(failed != nil) }()

	target, err := p.fetchAll(ctx, n.resolver(ctx))
	if err != nil {
		return p.explain(ctx, err)
	}
	if err := s.put(ctx, images.Image{Name: ref.String(), Target: target}, old); err != nil {
		return err
	}
	slog.Info("image pulled", "name", ref.String(), "digest", target.Digest)
	s.publish(ctx, "pull", ref, target, p.matcher)
	out.Message("", "Digest: "+target.Digest.String())
	status := "Status: Downloaded newer image for "
	if old != nil && old.Target.Digest == target.Digest {
		status = "Status: Image is up to date for "
	}
	out.Message("", status+reference.FamiliarString(ref))
	return nil
}

// fetchAll finds what the reference names, and brings and unpacks it.
func (p *pull) fetchAll(ctx context.Context, resolver remotes.Resolver) (ocispec.Descriptor, error) {
	name, target, err := resolver.Resolve(ctx, p.ref.String())
	if err != nil {
		return target, fmt.Errorf("failed to resolve reference %q: %w", p.ref.String(), err)
	}
	if err := acceptable(p.ref, target); err != nil {
		return target, err
	}
	if p.fetcher, err = resolver.Fetcher(ctx, name); err != nil {
		return target, fmt.Errorf("failed to get fetcher for %q: %w", name, err)
	}
	// One context for all, so that nothing goes on when a part has failed.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u, err := unpack.New(ctx, p.s.client, unpack.Options{
		Snapshotter: p.s.snapshotter,
		Layers:      p,
		Locker:      p.s.locks,
		Downloads:   p.settings.downloads,
		Parallel:    p.settings.Unpacks,
		FetchAll:    true,
	})
	if err != nil {
		return target, err
	}
	handler, err := p.handler()
	if err != nil {
		return target, err
	}
	err = images.Dispatch(ctx, u.Unpack(handler), nil, target)
	if err != nil {
		cancel()
	}
	result, unpackErr := u.Wait()
	p.stopTelling()
	switch {
	case err != nil:
		return target, err
	case unpackErr != nil:
		return target, unpackErr
	case result.Unpacks > 0:
		p.finish()
		return target, nil
	}
	// Nothing to unpack: an image without layers, or no image at all.
	if _, err := unpack.Image(ctx, p.s.client, p.manifest, p.s.snapshotter); err != nil {
		return target, fmt.Errorf("failed to unpack image on snapshotter %s: %w", p.s.snapshotter, err)
	}
	return target, nil
}

// acceptable says no to what is no image of today.
func acceptable(ref reference.Named, target ocispec.Descriptor) error {
	switch {
	case target.MediaType == images.MediaTypeDockerSchema1Manifest, target.MediaType == images.MediaTypeDockerSchema1Manifest+"+prettyjws":
		return schema1(ref)
	case !images.IsManifestType(target.MediaType) && !images.IsIndexType(target.MediaType):
		return fault.Errorf(errdefs.ErrInvalidArgument, "unsupported media type %s", target.MediaType)
	}
	return nil
}

// schema1 is the answer to images of a form that was given up.
func schema1(ref reference.Named) error {
	return fault.Errorf(errdefs.ErrInvalidArgument, "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. "+
		"Suggest the author of %s to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. "+
		"More information at https://docs.docker.com/go/deprecated-image-specs/", ref.String())
}
