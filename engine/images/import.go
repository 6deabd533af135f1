package images

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/go-archive/compression"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images/changes"
	"github.com/gantry-containers/gantry/engine/names"
)

// ImportOptions says what becomes of an archive of a root.
type ImportOptions struct {
	// Name is a full reference, or empty.
	Name string
	// Platform is what the programs in it run on; nil for this machine.
	Platform *ocispec.Platform
	// Message goes into the history.
	Message string
	// Changes are instructions of a Dockerfile.
	Changes []string
}

// Import makes an image of one layer of a root's archive, compressed or not, and returns its id. It is unpacked then.
func (s *Store) Import(ctx context.Context, root io.Reader, o ImportOptions) (id digest.Digest, err error) {
	runs, err := changes.Apply(&container.Config{}, o.Changes)
	if err != nil {
		return "", err
	}
	ctx, done, err := s.lease(ctx)
	if err != nil {
		return "", err
	}
	defer func() { done(err) }()
	layer, diffID, err := s.writeLayer(ctx, root)
	if err != nil {
		return "", err
	}
	platform := platforms.DefaultSpec()
	if o.Platform != nil {
		platform = *o.Platform
	}
	now := time.Now().UTC()
	config := dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created: &now, Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
			History: []ocispec.History{{Created: &now, Comment: o.Message}},
		},
		Config: ConfigOf(runs),
	}
	manifest, err := s.writeImage(ctx, config, []ocispec.Descriptor{layer}, nil)
	if err != nil {
		return "", err
	}
	if _, err := s.Unpack(ctx, manifest); err != nil {
		return "", fmt.Errorf("failed to unpack image: %w", err)
	}
	name := o.Name
	if name == "" {
		name = danglingName(manifest.Digest)
	}
	if err := s.Place(ctx, images.Image{Name: name, Target: manifest}); err != nil {
		return "", err
	}
	s.told(ctx, manifest, events.ActionImport, manifest.Digest.String())
	return manifest.Digest, nil
}

// writeLayer stores an archive as a layer: gzip and zstd as they are, everything else as gzip.
func (s *Store) writeLayer(ctx context.Context, root io.Reader) (layer ocispec.Descriptor, diffID digest.Digest, err error) {
	from := &counted{Reader: root}
	in := bufio.NewReader(from)
	// An empty body is an archive without files.
	begin, err := in.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return layer, "", err
	}
	blobs := s.client.ContentStore()
	w, err := content.OpenWriter(ctx, blobs, content.WithRef(leaseOf(ctx)+"-"+names.ID()))
	if err != nil {
		return layer, "", err
	}
	defer w.Close()
	layer.MediaType = ocispec.MediaTypeImageLayerGzip
	switch compression.Detect(begin) {
	case compression.Gzip:
		diffID, err = copyCompressed(w, in)
	case compression.Zstd:
		layer.MediaType = ocispec.MediaTypeImageLayerZstd
		diffID, err = copyCompressed(w, in)
	default:
		diffID, err = compress(w, in, from)
	}
	if err != nil {
		return layer, "", err
	}
	layer.Digest = w.Digest()
	status, err := w.Status()
	if err != nil {
		return layer, "", err
	}
	layer.Size = status.Offset
	labels := map[string]string{uncompressedLabel: diffID.String()}
	err = w.Commit(ctx, layer.Size, layer.Digest, content.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		_, err = blobs.Update(ctx, content.Info{Digest: layer.Digest, Labels: labels}, "labels."+uncompressedLabel)
	}
	return layer, diffID, err
}

// copyCompressed copies a compressed archive, and is the digest of what is in it.
func copyCompressed(to io.Writer, in io.Reader) (digest.Digest, error) {
	type result struct {
		digest digest.Digest
		err    error
	}
	pr, pw := io.Pipe()
	found := make(chan result, 1)
	go func() {
		d, err := uncompressedDigest(pr)
		// What follows the compressed stream is read, so that the writer goes on.
		_, drained := io.Copy(io.Discard, pr)
		found <- result{d, errors.Join(err, drained)}
	}()
	_, err := io.Copy(to, io.TeeReader(in, pw))
	pw.CloseWithError(err)
	r := <-found
	return r.digest, errors.Join(err, r.err)
}

func uncompressedDigest(in io.Reader) (digest.Digest, error) {
	from := &counted{Reader: in}
	plain, err := compression.DecompressStream(from)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	d := digest.Canonical.Digester()
	_, err = io.Copy(d.Hash(), &bounded{plain: plain, from: from})
	return d.Digest(), err
}

// compress compresses an archive, which may be packed in another way.
func compress(to io.Writer, in io.Reader, from *counted) (digest.Digest, error) {
	plain, err := compression.DecompressStream(in)
	if err != nil {
		return "", fault.As(errdefs.ErrInvalidArgument, err)
	}
	defer plain.Close()
	d := digest.Canonical.Digester()
	z := gzip.NewWriter(to)
	if _, err := io.Copy(z, io.TeeReader(&bounded{plain: plain, from: from}, d.Hash())); err != nil {
		return "", err
	}
	return d.Digest(), z.Close()
}

// ConfigOf is a container's configuration as an image keeps it.
func ConfigOf(c *container.Config) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd = c.User, c.Env, c.Entrypoint, c.Cmd
	out.Volumes, out.WorkingDir, out.Labels, out.StopSignal = c.Volumes, c.WorkingDir, c.Labels, c.StopSignal
	out.ArgsEscaped = c.ArgsEscaped //nolint:staticcheck // deprecated, and part of images that exist
	if len(c.ExposedPorts) > 0 {
		out.ExposedPorts = map[string]struct{}{}
		for p := range c.ExposedPorts {
			out.ExposedPorts[p.String()] = struct{}{}
		}
	}
	out.Healthcheck, out.OnBuild, out.Shell = c.Healthcheck, c.OnBuild, c.Shell
	return out
}

// ContainerConfig is an image's configuration as that of a container made from it.
func ContainerConfig(img *dockerspec.DockerOCIImageConfig) *container.Config {
	c := &container.Config{
		User: img.User, Env: img.Env, Entrypoint: img.Entrypoint, Cmd: img.Cmd,
		Volumes: img.Volumes, WorkingDir: img.WorkingDir, Labels: img.Labels, StopSignal: img.StopSignal,
		ArgsEscaped: img.ArgsEscaped, //nolint:staticcheck // deprecated, and part of images that exist
		Healthcheck: img.Healthcheck, OnBuild: img.OnBuild, Shell: img.Shell,
	}
	for name := range img.ExposedPorts {
		p, err := network.ParsePort(name)
		if err != nil {
			continue // An image may say anything; what is no port cannot be exposed.
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
	return c
}
