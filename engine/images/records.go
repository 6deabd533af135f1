package images

import (
	"context"
	"log/slog"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// Records is the manager's image records. Whoever changes a record does it through here, so that the next answer knows
// of it; others are noticed by the manager's events.
func (s *Store) Records() images.Store { return records{s} }

// Changed says that names point elsewhere now, are new or gone: the next answer knows of it.
func (s *Store) Changed(ctx context.Context, names ...string) {
	for _, name := range names {
		img, err := s.client.ImageService().Get(ctx, name)
		switch {
		case err == nil:
			s.index.put(img)
		case errdefs.IsNotFound(err):
			s.index.remove(name)
		default:
			// The manager's events will tell.
			slog.Warn("an image record that changed cannot be read", "name", name, "error", err)
		}
	}
}

type records struct{ s *Store }

// Get implements images.Store. It asks the manager.
func (r records) Get(ctx context.Context, name string) (images.Image, error) {
	return r.s.client.ImageService().Get(ctx, name)
}

// List implements images.Store. It asks the manager.
func (r records) List(ctx context.Context, filters ...string) ([]images.Image, error) {
	return r.s.client.ImageService().List(ctx, filters...)
}

// Create implements images.Store.
func (r records) Create(ctx context.Context, img images.Image) (images.Image, error) {
	created, err := r.s.client.ImageService().Create(ctx, img)
	if err == nil {
		r.s.index.put(created)
	}
	return created, err
}

// Update implements images.Store.
func (r records) Update(ctx context.Context, img images.Image, fieldpaths ...string) (images.Image, error) {
	updated, err := r.s.client.ImageService().Update(ctx, img, fieldpaths...)
	if err == nil {
		r.s.index.put(updated)
	}
	return updated, err
}

// Delete implements images.Store.
func (r records) Delete(ctx context.Context, name string, opts ...images.DeleteOpt) error {
	err := r.s.client.ImageService().Delete(ctx, name, opts...)
	if err == nil || errdefs.IsNotFound(err) {
		r.s.index.remove(name)
	}
	return err
}
