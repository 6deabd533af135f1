package images

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// fromNothingLabel, on a record, says that the image was built on nothing.
	fromNothingLabel = "org.mobyproject.image.fromscratch"
	// containerConfigLabel, on a record, names the blob with the configuration of the container that the image was
	// committed from; configRefLabel, on its configuration, keeps that blob.
	containerConfigLabel = "org.mobyproject.image.containerconfig"
	configRefLabel       = "containerd.io/gc.ref.content.moby/container.config"
	containerConfigType  = "application/vnd.docker.container.image.v1+json"

	// emptyArchive is the digest of an archive without entries: a diff of nothing.
	emptyArchive = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
)

// Commit is a new image on top of another one.
type Commit struct {
	// Parent is nil for an image from nothing.
	Parent *Image
	// Container whose snapshot's changes become the layer; empty for a change of the configuration alone.
	Container string
	Config    dockerspec.DockerOCIImageConfig
	// ContainerConfig is what the container ran with; the classic builder finds images by it. It may be nil.
	ContainerConfig *container.Config
	// Comment, Author and CreatedBy go into the history.
	Comment, Author, CreatedBy string
	// Name is a full reference, or empty.
	Name string
	// Platform is the parent's when it is empty.
	Platform ocispec.Platform
}

// Commit makes an image of a container's changes. It is unpacked when it returns.
func (s *Store) Commit(ctx context.Context, c Commit) (_ *Image, err error) {
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	layers, err := s.parentLayers(ctx, c.Parent)
	if err != nil {
		return nil, err
	}
	layer, diffID, err := s.changesOf(ctx, c.Container)
	if err != nil {
		return nil, fmt.Errorf("failed to export layer: %w", err)
	}
	if layer != nil {
		layers = append(layers, *layer)
	}
	config := c.config(diffID)
	record := images.Image{Labels: map[string]string{}}
	if c.Parent != nil {
		record.Labels[parentLabel] = c.Parent.Target.Digest.String()
	} else {
		record.Labels[parentLabel], record.Labels[fromNothingLabel] = "", "1"
	}
	refs := map[string]string{}
	if c.ContainerConfig != nil {
		desc, err := s.writeJSON(ctx, containerConfigType, c.ContainerConfig, nil)
		if err != nil {
			return nil, err
		}
		refs[configRefLabel], record.Labels[containerConfigLabel] = desc.Digest.String(), desc.Digest.String()
	}
	if record.Target, err = s.writeImage(ctx, config, layers, refs); err != nil {
		return nil, err
	}
	return s.committed(ctx, record, c.Name)
}

// committed unpacks a new image and makes its record.
func (s *Store) committed(ctx context.Context, record images.Image, name string) (*Image, error) {
	if _, err := s.Unpack(ctx, record.Target); err != nil {
		return nil, fmt.Errorf("failed to unpack image: %w", err)
	}
	id := record.Target.Digest
	record.Name = danglingName(id)
	if err := s.Place(ctx, record); err != nil {
		return nil, err
	}
	s.told(ctx, record.Target, events.ActionCreate, id.String())
	if name != "" {
		record.Name = name
		if err := s.Place(ctx, record); err != nil {
			return nil, err
		}
	}
	img, err := s.Resolve(ctx, id.String(), nil)
	if err != nil {
		return nil, err
	}
	img.Name = name
	return img, nil
}

// parentLayers is the layers of an image, held by the lease of the context.
func (s *Store) parentLayers(ctx context.Context, parent *Image) ([]ocispec.Descriptor, error) {
	if parent == nil {
		return nil, nil
	}
	var m ocispec.Manifest
	if err := readJSON(ctx, s.client.ContentStore(), parent.Manifest, &m); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if err := s.hold(ctx, l.Digest); err != nil {
			return nil, err
		}
	}
	return m.Layers, nil
}

// changesOf stores what a container changed as a layer; nil when that is nothing.
func (s *Store) changesOf(ctx context.Context, id string) (*ocispec.Descriptor, digest.Digest, error) {
	if id == "" {
		return nil, "", nil
	}
	desc, err := rootfs.CreateDiff(ctx, id, s.client.SnapshotService(s.snapshotter), s.client.DiffService(),
		diff.WithMediaType(ocispec.MediaTypeImageLayerGzip), diff.WithReference(leaseOf(ctx)+"-diff"))
	if err != nil {
		return nil, "", err
	}
	diffID, err := images.GetDiffID(ctx, s.client.ContentStore(), desc)
	if err != nil || diffID == emptyArchive {
		return nil, "", err
	}
	desc.Annotations = nil
	return &desc, diffID, nil
}

// config is the configuration of the new image. The diff ID is empty when there is no layer.
func (c Commit) config(diffID digest.Digest) dockerspec.DockerOCIImage {
	var base dockerspec.DockerOCIImage
	if c.Parent != nil {
		base = c.Parent.Config
	}
	platform := c.Platform
	if platform.OS == "" {
		platform = base.Platform
	}
	if platform.OS == "" {
		platform.OS = runtime.GOOS
	}
	if platform.Architecture == "" {
		platform.Architecture = runtime.GOARCH
	}
	author := c.Author
	if author == "" {
		author = base.Author
	}
	diffIDs := slices.Clone(base.RootFS.DiffIDs)
	if diffID != "" {
		diffIDs = append(diffIDs, diffID)
	}
	now := time.Now().UTC()
	return dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created: &now, Author: author, Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
			History: append(slices.Clone(base.History), ocispec.History{
				Created: &now, CreatedBy: c.CreatedBy, Author: author, Comment: c.Comment, EmptyLayer: diffID == "",
			}),
		},
		Config: c.Config,
	}
}
