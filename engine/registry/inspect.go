package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Inspect asks a registry what a reference names, without bringing it.
func (s *Service) Inspect(ctx context.Context, ref reference.Named, r Request) (*registry.DistributionInspect, error) {
	n := s.session(ref, r)
	defer n.end()
	hosts, err := n.hosts(ctx, reference.Domain(ref))
	if err != nil {
		return nil, err
	}
	ctx = docker.WithScope(ctx, "repository:"+reference.Path(ref)+":pull")
	for _, host := range hosts {
		var found *registry.DistributionInspect
		if found, err = n.inspectAt(ctx, host); err == nil {
			return found, nil
		}
	}
	return nil, inspectError(ctx, err)
}

// manifestTypes is what a registry may answer with.
var manifestTypes = strings.Join([]string{
	images.MediaTypeDockerSchema2Manifest, images.MediaTypeDockerSchema2ManifestList,
	ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
}, ", ")

func (n *session) inspectAt(ctx context.Context, host docker.RegistryHost) (*registry.DistributionInspect, error) {
	ref := reference.TagNameOnly(n.ref)
	object := ""
	if d, ok := ref.(reference.Digested); ok {
		object = d.Digest().String()
	} else if t, ok := ref.(reference.Tagged); ok {
		object = t.Tag()
	}
	kind, manifest, err := n.read(ctx, host, "manifests", object)
	if err != nil {
		return nil, err
	}
	var m struct {
		MediaType string                `json:"mediaType"`
		Config    ocispec.Descriptor    `json:"config"`
		Manifests *[]ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, err
	}
	if m.MediaType != "" {
		kind = m.MediaType // registries may say something else
	}
	if err := acceptable(n.ref, ocispec.Descriptor{MediaType: kind}); err != nil {
		return nil, err
	}
	found := &registry.DistributionInspect{Descriptor: ocispec.Descriptor{
		MediaType: kind, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)),
	}}
	if d, ok := ref.(reference.Digested); ok && d.Digest().Algorithm().FromBytes(manifest) != d.Digest() {
		return nil, fault.Errorf(errdefs.ErrUnknown, "manifest verification failed for digest %s", d.Digest())
	}
	switch {
	case m.Manifests != nil:
		for _, d := range *m.Manifests {
			if d.Platform == nil {
				d.Platform = &ocispec.Platform{}
			}
			found.Platforms = append(found.Platforms, *d.Platform)
		}
	case kind == images.MediaTypeDockerSchema2Manifest:
		found.Platforms = n.platform(ctx, host, m.Config.Digest)
	}
	return found, nil
}

// platform is that of a configuration; none when there is nothing to read in it.
func (n *session) platform(ctx context.Context, host docker.RegistryHost, config digest.Digest) []ocispec.Platform {
	if config.Validate() != nil {
		return nil
	}
	_, b, err := n.read(ctx, host, "blobs", config.String())
	if err != nil {
		return nil
	}
	var p ocispec.Platform
	if json.Unmarshal(b, &p) != nil || p.OS == "" && p.Architecture == "" {
		return nil
	}
	return []ocispec.Platform{p}
}

// read reads a small thing of the repository.
func (n *session) read(ctx context.Context, host docker.RegistryHost, kind, object string) (mediaType string, content []byte, _ error) {
	u := &url.URL{Scheme: host.Scheme, Host: host.Host, Path: path.Join(host.Path, reference.Path(n.ref), kind, object)}
	response, err := n.get(ctx, host, u, manifestTypes+", */*")
	if err != nil {
		return "", nil, err
	}
	mediaType, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	content, err = answerOf(response)
	return mediaType, content, err
}

// inspectError gives what a registry answered its status and its words.
func inspectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var told refusal
	if !errors.As(err, &told) {
		return err
	}
	switch told.Code {
	case "MANIFEST_UNKNOWN", "NAME_UNKNOWN":
		return fault.As(errdefs.ErrNotFound, told)
	case "UNAUTHORIZED":
		return fault.As(errdefs.ErrUnauthenticated, told)
	case "DENIED":
		return fault.As(errdefs.ErrPermissionDenied, told)
	}
	return fault.As(errdefs.ErrUnknown, told)
}
