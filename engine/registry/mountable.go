package registry

import (
	"context"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// mountable finds what is missing here, but can be mounted from another repository of the same registry, where the
// target came from.
func (p *push) mountable(ctx context.Context, target ocispec.Descriptor) (map[digest.Digest]reference.Named, error) {
	found := map[digest.Digest]reference.Named{}
	info, err := p.store.Info(ctx, target.Digest)
	if errdefs.IsNotFound(err) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	from := p.sameRegistry(info.Labels)
	if from == nil {
		return found, nil
	}
	var mu sync.Mutex
	err = images.Dispatch(ctx, images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		_, err := p.store.Info(ctx, desc.Digest)
		if err == nil {
			return images.Children(ctx, p.store, desc)
		}
		if !errdefs.IsNotFound(err) {
			return nil, err
		}
		if !images.IsManifestType(desc.MediaType) && !images.IsIndexType(desc.MediaType) {
			mu.Lock()
			found[desc.Digest] = from
			mu.Unlock()
			p.told.add(desc)
		}
		return nil, nil
	}), p.n.uploads, target)
	return found, err
}

// sameRegistry is a repository of the push's registry that has the content of these labels. The labels name a registry
// without its port.
func (p *push) sameRegistry(all map[string]string) reference.Named {
	host := reference.Domain(p.ref)
	if i := strings.LastIndex(host, ":"); i >= 0 {
		host = host[:i]
	}
	repositories, ok := all[labels.LabelDistributionSource+"."+host]
	if !ok {
		return nil
	}
	for repository := range strings.SplitSeq(repositories, ",") {
		if from, err := reference.ParseNamed(host + "/" + repository); err == nil {
			return from
		}
	}
	return nil
}

// partial is a content store that says of what can be mounted elsewhere that it is there. It cannot be read.
type partial struct {
	content.Store
	elsewhere map[digest.Digest]reference.Named
}

// Info implements content.InfoProvider.
func (s partial) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	info, err := s.Store.Info(ctx, d)
	from, ok := s.elsewhere[d]
	if !errdefs.IsNotFound(err) || !ok {
		return info, err
	}
	return content.Info{Digest: d, Labels: map[string]string{
		labels.LabelDistributionSource + "." + reference.Domain(from): reference.Path(from),
	}}, nil
}
