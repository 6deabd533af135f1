package images

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// maxBlobs bounds the blobs of one archive.
const maxBlobs = 100_000

// ingest is a content store whose writers have references of their own: two archives at once, or one that broke off
// before, may have entries of the same name.
type ingest struct {
	content.Store
	prefix string
	writes int
}

// Writer implements content.Ingester.
func (i *ingest) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	if i.writes++; i.writes > maxBlobs {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "the archive has more than %d files", maxBlobs)
	}
	return i.Store.Writer(ctx, append(opts, func(o *content.WriterOpts) error {
		o.Ref = i.prefix + "-" + o.Ref
		return nil
	})...)
}

// maxRatio bounds what a compressed archive may grow to: gzip cannot do more, and what does is made to fill the disk.
const maxRatio = 1100

// counted counts what was read.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded ends a stream that grows too much over what it is made from.
type bounded struct {
	plain io.Reader
	from  *counted
	n     int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.plain.Read(p)
	b.n += int64(n)
	if b.n > maxRatio*b.from.n {
		return n, fault.Errorf(errdefs.ErrInvalidArgument, "the archive is refused: it grows more than %d times when it is decompressed", maxRatio)
	}
	return n, err
}
