package store

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Writer opens an ingest.
func (m *memory) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := m.Store.Writer(ctx, opts...)
	if err == nil {
		return ingest{w}, nil
	}
	if noSpace(err) {
		m.abortHalf(ctx, opts)
	}
	return nil, fullError("content", err)
}

// abortHalf removes an ingest that a full disk has left half-made: nobody could list any others because of it.
func (m *memory) abortHalf(ctx context.Context, opts []content.WriterOpt) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return // it is the error that Writer has returned
		}
	}
	if _, err := m.Store.Status(ctx, o.Ref); !errdefs.IsNotFound(err) {
		return // there was one already, which can go on
	}
	if err := m.Store.Abort(ctx, o.Ref); err != nil && !errdefs.IsNotFound(err) {
		slog.Warn("half an ingest stays on a full disk", "error", err)
	}
}

// dropHalfIngests removes ingests that nothing can be made of, in the content store's folder of them: files of theirs are
// missing or, after a loss of power, empty. The content store would refuse to list any as long as one is there.
func dropHalfIngests(dir string) error {
	found, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is made with the first ingest
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range found {
		if path := filepath.Join(dir, d.Name()); !wholeIngest(path) {
			slog.Info("removed half an ingest", "directory", path)
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

func wholeIngest(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		return false
	}
	if ref, err := os.ReadFile(filepath.Join(dir, "ref")); err != nil || len(ref) == 0 {
		return false
	}
	for _, name := range []string{"startedat", "updatedat"} {
		var at time.Time
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || at.UnmarshalText(text) != nil {
			return false
		}
	}
	return true
}

// Abort ends an ingest.
func (m *memory) Abort(ctx context.Context, ref string) error {
	return fullError("content", m.Store.Abort(ctx, ref))
}

// WalkStatusRefs visits the references of ingests, without reading how far they are; for the garbage collector.
func (m *memory) WalkStatusRefs(ctx context.Context, fn func(string) error) error {
	if w, ok := m.Store.(interface {
		WalkStatusRefs(context.Context, func(string) error) error
	}); ok {
		return w.WalkStatusRefs(ctx, fn)
	}
	statuses, err := m.Store.ListStatuses(ctx)
	for _, s := range statuses {
		if err := fn(s.Ref); err != nil {
			return err
		}
	}
	return err
}

// ingest gives its space back when the disk is full: what was written is of no use to anybody then, and could lie there
// for a day.
type ingest struct{ content.Writer }

// Write appends.
func (i ingest) Write(p []byte) (int, error) {
	n, err := i.Writer.Write(p)
	if noSpace(err) {
		if truncateErr := i.Truncate(0); truncateErr != nil {
			slog.Warn("an ingest keeps its space on a full disk", "error", truncateErr)
		}
		return n, fullError("content", err)
	}
	return n, err
}

// Sync waits for the disk.
func (i ingest) Sync() error {
	if s, ok := i.Writer.(content.Syncer); ok {
		return fullError("content", s.Sync())
	}
	return nil
}

// Commit ends the ingest.
func (i ingest) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	return fullError("content", i.Writer.Commit(ctx, size, expected, opts...))
}
