package images

import (
	"context"
	"log/slog"
	"maps"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images/changes"
)

// CommitOptions says what becomes of a container when a client commits it.
type CommitOptions struct {
	// Container by id, name, or the beginning of an id.
	Container string
	// Config is laid over the container's; nil for none.
	Config *api.Config
	// Changes are instructions of a Dockerfile.
	Changes []string
	// Name is a full reference, or empty.
	Name            string
	Author, Comment string
	// Pause freezes the container meanwhile.
	Pause bool
}

// CommitContainer makes an image of a container, and returns its id.
func (s *Store) CommitContainer(ctx context.Context, o CommitOptions) (string, error) {
	c, err := s.containers.Get(o.Container)
	if err != nil {
		return "", err
	}
	switch {
	case c.State.Status == container.Dead:
		return "", fault.Errorf(errdefs.ErrConflict, "You cannot commit container %s which is Dead", c.ID)
	case c.State.RemovalInProgress:
		return "", fault.Errorf(errdefs.ErrConflict, "You cannot commit container %s which is being removed", c.ID)
	}
	config := o.Config
	if config == nil {
		config = c.Config
	}
	if config, err = changes.Apply(config, o.Changes); err != nil {
		return "", err
	}
	config = changes.Merge(config, c.Config)
	parent, err := s.parentImage(ctx, c)
	if err != nil {
		return "", err
	}
	if o.Pause {
		defer s.pause(ctx, c)()
	}
	img, err := s.Commit(ctx, Commit{
		Parent: parent, Container: c.ID, Config: ConfigOf(config), ContainerConfig: c.Config, Comment: o.Comment,
		Author: o.Author, CreatedBy: strings.Join(c.Config.Cmd, " "), Name: o.Name, Platform: c.Platform,
	})
	if err != nil {
		return "", err
	}
	s.toldCommit(c, o, img.Target)
	return img.Target.Digest.String(), nil
}

// parentImage is what a container was made from, by its content: the image may have lost its record. Nil for nothing.
func (s *Store) parentImage(ctx context.Context, c *container.Container) (*Image, error) {
	if c.Image.Manifest.Digest == "" {
		return nil, nil
	}
	var m ocispec.Manifest
	if err := readJSON(ctx, s.client.ContentStore(), c.Image.Manifest, &m); err != nil {
		return nil, err
	}
	var config dockerspec.DockerOCIImage
	if err := readJSON(ctx, s.client.ContentStore(), m.Config, &config); err != nil {
		return nil, err
	}
	return &Image{Target: c.Image.Target, Manifest: c.Image.Manifest, Config: config}, nil
}

// pause freezes a container that runs, and returns what lets it go on.
func (s *Store) pause(ctx context.Context, c *container.Container) (unpause func()) {
	if s.pauser == nil || c.State.Status != container.Running {
		return func() {}
	}
	if err := s.pauser.Pause(ctx, c.ID); err != nil {
		slog.Debug("a container is committed while it runs", "container", c.ID, "error", err)
		return func() {}
	}
	return func() {
		if err := s.pauser.Unpause(context.WithoutCancel(ctx), c.ID); err != nil {
			slog.Warn("a container that was committed stays paused", "container", c.ID, "error", err)
		}
	}
}

func (s *Store) toldCommit(c *container.Container, o CommitOptions, target ocispec.Descriptor) {
	attributes := map[string]string{}
	maps.Copy(attributes, c.Config.Labels)
	attributes["image"], attributes["name"] = c.Config.Image, c.Name
	attributes["comment"], attributes["imageID"], attributes["imageRef"] = o.Comment, target.Digest.String(), ""
	if ref, err := reference.ParseNormalizedNamed(o.Name); err == nil {
		attributes["imageRef"] = reference.FamiliarString(ref)
	}
	s.events.Publish(events.ContainerEventType, events.ActionCommit, c.ID, attributes)
}

// BuiltFrom is the configuration of the container that an image was committed from; nil when that is not known.
func (s *Store) BuiltFrom(ctx context.Context, img *Image) (*api.Config, error) {
	for _, record := range s.index.targeting(img.Target.Digest) {
		desc, err := digest.Parse(record.Labels[containerConfigLabel])
		if err != nil {
			continue
		}
		var config api.Config
		if err := readJSON(ctx, s.client.ContentStore(), ocispec.Descriptor{Digest: desc}, &config); err != nil {
			return nil, err
		}
		return &config, nil
	}
	return nil, nil
}
