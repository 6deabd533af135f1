package archive

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	goarchive "github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	"github.com/moby/moby/api/types/events"
	"github.com/xi2/xz"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// Put is how an archive is unpacked.
type Put struct {
	// Path of a folder in the container.
	Path string
	// KeepKind refuses to put a file in the place of a folder, and the other way round.
	KeepKind bool
	// Own gives all files to the container's user, when it has one.
	Own bool
}

// Put unpacks a tar archive, plain or compressed, into a folder of a container.
func (s *Service) Put(ctx context.Context, ref string, p Put, body io.Reader) error {
	c, err := s.containers.Get(ref)
	if err != nil {
		return err
	}
	// It is opened here: what a container may have in the place of a program to unpack with is none of it.
	plain, err := Decompress(body)
	if err != nil {
		return told(err, ref, p.Path)
	}
	defer plain.Close()
	options, cleanup, err := goarchive.WithProcSelfFD(&goarchive.TarOptions{NoOverwriteDirNonDir: p.KeepKind})
	if err != nil {
		return err
	}
	defer cleanup()
	view, leave, err := s.enter(ctx, c.ID, true)
	if err != nil {
		return told(err, ref, p.Path)
	}
	defer leave()
	options.IDMap = view.IDs
	err = view.Run(func() error { return putHere(c, p, options, plain) })
	if err != nil {
		return told(err, ref, p.Path)
	}
	s.publish(c, events.ActionExtractToDir)
	return nil
}

// putHere works inside a view.
func putHere(c *container.Container, p Put, options *goarchive.TarOptions, plain io.Reader) error {
	// A link to a folder is one, too.
	abs, err := filepath.EvalSymlinks(filepath.Join("/", p.Path)) //nolint:forbidigo // Nothing here leads out of the view.
	if err != nil {
		return err
	}
	abs = goarchive.PreserveTrailingDotOrSeparator(abs, p.Path)
	info, err := os.Lstat(abs)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fault.Errorf(errdefs.ErrInvalidArgument, "extraction point is not a directory")
	}
	if err := checkWritable(c, abs); err != nil {
		return err
	}
	if p.Own && c.Config.User != "" {
		uid, gid, err := owner(c.Config.User)
		if err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
		options.ChownOpts = &goarchive.ChownOpts{UID: uid, GID: gid}
	}
	return goarchive.UntarUncompressed(plain, abs, options)
}

// checkWritable says no to places that the container could not write to either. The innermost mount decides.
func checkWritable(c *container.Container, path string) error {
	var inner *container.Mount
	for i, m := range c.Mounts {
		rel, err := filepath.Rel(m.Destination, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		if inner == nil || len(m.Destination) > len(inner.Destination) {
			inner = &c.Mounts[i]
		}
	}
	switch {
	case inner != nil && !inner.RW:
		return fault.Errorf(errdefs.ErrInvalidArgument, "mounted volume is marked read-only")
	case inner == nil && c.HostConfig.ReadonlyRootfs:
		return fault.Errorf(errdefs.ErrInvalidArgument, "container rootfs is marked read-only")
	}
	return nil
}

// maxDict is the most memory that an xz archive may ask for, in bytes: twice of what xz -9 makes.
const maxDict = 128 << 20

// Decompress opens a compressed stream without any other program.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 32<<10)
	start, err := buffered.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch compression.Detect(start) {
	case compression.None:
		return io.NopCloser(buffered), nil
	case compression.Gzip:
		return gzip.NewReader(buffered)
	case compression.Bzip2:
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	case compression.Zstd:
		d, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		x, err := xz.NewReader(buffered, maxDict)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	}
}
