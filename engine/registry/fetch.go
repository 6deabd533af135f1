package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/progress"
)

// maxConfig bounds an image's configuration, in bytes: it is read into memory more than once.
const maxConfig = 8 << 20

// pull is one image on its way.
type pull struct {
	s        *Service
	settings *settings
	ref      reference.Named
	platform ocispec.Platform
	matcher  platforms.MatchComparer
	store    content.Store
	fetcher  remotes.Fetcher
	out      *progress.Writer

	// manifest is that of the platform, once it is known.
	manifest ocispec.Descriptor
	layers   layers
	greeting sync.Once
}

// handler brings one thing and names what belongs to it.
func (p *pull) handler() (images.Handler, error) {
	source, err := docker.AppendDistributionSourceLabel(p.store, p.ref.String())
	if err != nil {
		return nil, err
	}
	children := images.HandlerFunc(p.children)
	children = images.SetChildrenMappedLabels(p.store, children, nil)
	children = images.FilterPlatforms(children, p.matcher)
	children = images.LimitManifests(children, p.matcher, 1)
	children = p.withAttestations(children)
	return images.Handlers(images.HandlerFunc(p.announce), images.HandlerFunc(p.bring), p.known(children), source), nil
}

// announce tells what is coming, when it is sure that something is.
func (p *pull) announce(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsManifestType(desc.MediaType) || isAttestation(desc) {
		return nil, nil
	}
	p.greeting.Do(func() {
		id := p.ref.String()
		if t, ok := p.ref.(reference.Tagged); ok {
			id = t.Tag()
		}
		p.out.Message(id, "Pulling from "+reference.Path(p.ref))
	})
	available, _, _, missing, err := images.Check(ctx, p.store, desc, p.matcher)
	if err != nil {
		return nil, err
	}
	// Nobody is told of layers that are all there.
	if available && len(missing) == 0 {
		p.layers.hide()
	}
	return nil, nil
}

// children are what a manifest or an index names, but for what a client must not be made to fetch or to read.
func (p *pull) children(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	found, err := images.Children(ctx, p.store, desc)
	if err != nil {
		return nil, err
	}
	for i := range found {
		// Addresses elsewhere are for layers of Windows; here they would make the engine ask whoever an image names.
		found[i].URLs = nil
		if err := sane(found[i]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// sane says no to a descriptor that is none, and bounds what is read into memory, by what is said of its size; more than
// that will not be fetched.
func sane(desc ocispec.Descriptor) error {
	// A digest becomes part of paths and addresses.
	if err := desc.Digest.Validate(); err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid digest %q: %w", desc.Digest, err)
	}
	if desc.Size < 0 {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid size %d of %s", desc.Size, desc.Digest)
	}
	limit := int64(0)
	switch {
	case images.IsManifestType(desc.MediaType), images.IsIndexType(desc.MediaType):
		limit = docker.MaxManifestSize
	case images.IsConfigType(desc.MediaType):
		limit = maxConfig
	default:
		return nil
	}
	if desc.Size > limit {
		return fault.Errorf(errdefs.ErrInvalidArgument, "rejecting %d byte %s of type %s", desc.Size, desc.Digest, desc.MediaType)
	}
	return nil
}

// known tells of a manifest's layers as soon as they are known, in their order.
func (p *pull) known(next images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := next(ctx, desc)
		if err != nil || !images.IsManifestType(desc.MediaType) || isAttestation(desc) {
			return children, err
		}
		p.manifest = desc
		p.layers.tell(p.out, children, p.settings.MaxDownloads)
		return children, nil
	}
}

// bring fetches a thing, unless it is there, and tries again what may succeed then. What it cannot finish it removes.
func (p *pull) bring(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if desc.MediaType == images.MediaTypeDockerSchema1Manifest {
		return nil, schema1(p.ref)
	}
	var before error
	for attempt := 1; ; attempt++ {
		err := remotes.Fetch(ctx, p.store, counted{p.fetcher, p}, desc)
		switch {
		case err == nil:
			p.layers.fetched(p.out, desc)
			return nil, nil
		case errdefs.IsAlreadyExists(err):
			p.layers.existed(p.out, desc)
			return nil, nil
		case before != nil && statusOf(err) == http.StatusRequestedRangeNotSatisfiable:
			// There is no more than came: the error of before says so better.
			err = before
		case attempt < p.settings.MaxAttempts && ctx.Err() == nil && transient(err):
			before = err
			err = p.pause(ctx, desc, attempt)
		}
		if err != nil {
			p.abort(ctx, desc)
			return nil, err
		}
	}
}

// abort removes a part of a thing. The caller holds the thing's lock, so it is nobody else's part.
func (p *pull) abort(ctx context.Context, desc ocispec.Descriptor) {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = p.store.Abort(clean, remotes.MakeRefKey(ctx, desc)) // mostly there is none
}

// pause waits before another attempt, longer each time, and lets the client watch.
func (p *pull) pause(ctx context.Context, desc ocispec.Descriptor, attempt int) error {
	until := time.Now().Add(time.Duration(attempt) * p.settings.RetryAfter)
	for left := time.Until(until); left > 0; left = time.Until(until) {
		seconds := int((left + time.Second - 1) / time.Second)
		plural := "s"
		if seconds == 1 {
			plural = ""
		}
		p.layers.status(p.out, desc, fmt.Sprintf("Retrying in %d second%s", seconds, plural))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(left, time.Second)):
		}
	}
	return nil
}

// transient says that another attempt may succeed: the network's errors and a server's, not what a registry refuses or
// lies about.
func transient(err error) bool {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return status.StatusCode >= http.StatusInternalServerError
	}
	if _, ok := errors.AsType[stalled](err); ok {
		return true
	}
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.As(err, &network)
}

// counted is a fetcher that tells how far it is.
type counted struct {
	remotes.Fetcher
	p *pull
}

// Fetch implements remotes.Fetcher.
func (c counted) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := c.Fetcher.Fetch(ctx, desc)
	if err != nil || !shown(desc) {
		return rc, err
	}
	return &counter{ReadCloser: rc, p: c.p, desc: desc}, nil
}

// counter is a body that tells how far it is.
type counter struct {
	io.ReadCloser
	p    *pull
	desc ocispec.Descriptor
	n    int64
}

// Read implements io.Reader.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n += int64(n)
	c.p.layers.bytes(c.p.out, c.desc, c.n)
	return n, err
}

// Seek implements io.Seeker: a download goes on where an attempt before it ended.
func (c *counter) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errdefs.ErrNotImplemented
	}
	n, err := s.Seek(offset, whence)
	if err == nil {
		c.n = n
	}
	return n, err
}

// statusOf is what a registry answered instead of content; 0 when it is no answer.
func statusOf(err error) int {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return status.StatusCode
	}
	return 0
}
