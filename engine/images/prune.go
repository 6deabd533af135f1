package images

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// Prune removes images without a name, or, with the filter dangling=false, all that no container needs.
func (s *Store) Prune(ctx context.Context, args filters.Args) (*api.PruneReport, error) {
	select {
	case s.pruning <- struct{}{}:
		defer func() { <-s.pruning }()
	default:
		return nil, fault.Errorf(errdefs.ErrConflict, "a prune operation is already running")
	}
	if err := args.Only("dangling", "label", "label!", "until"); err != nil {
		return nil, err
	}
	danglingOnly, err := args.Bool("dangling", true)
	if err != nil {
		return nil, err
	}
	// Here it says what else is looked at; as a filter it would hide the dangling ones.
	args = maps.Clone(args)
	delete(args, "dangling")
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	pass, err := s.filter(ctx, args)
	if err != nil {
		return nil, err
	}
	if err := s.pruneLeases(ctx); err != nil {
		return nil, err
	}
	var report api.PruneReport
	var errs []error
	for _, img := range s.prunable(ctx, pass, danglingOnly) {
		if err := s.pruneOne(ctx, img, &report); err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	return &report, errors.Join(errs...)
}

// prunable is the records to remove, by name.
func (s *Store) prunable(ctx context.Context, pass filter, danglingOnly bool) []images.Image {
	names := map[digest.Digest]int{}
	chosen := map[string]bool{}
	all := s.index.all()
	for _, img := range all {
		names[img.Target.Digest]++
		if !danglingOnly || isDangling(img) {
			chosen[img.Name] = pass(ctx, img)
		}
	}
	needed := s.needed(chosen)
	var list []images.Image
	for _, img := range all {
		if !chosen[img.Name] {
			continue
		}
		// The last record of an image that a container was made from by its id stays.
		if names[img.Target.Digest] > 1 {
			names[img.Target.Digest]--
		} else if needed[img.Target.Digest] {
			continue
		}
		list = append(list, img)
	}
	return list
}

// needed takes the names that containers were made from out of the choice, and is the images that were named by id.
func (s *Store) needed(chosen map[string]bool) map[digest.Digest]bool {
	byID := map[digest.Digest]bool{}
	for _, c := range s.containers.List() {
		id := c.Image.Target.Digest
		delete(chosen, danglingName(id))
		typed := c.Image.Name
		if c.Config != nil && c.Config.Image != "" {
			typed = c.Config.Image
		}
		if strings.HasPrefix(id.String(), "sha256:"+strings.TrimPrefix(typed, "sha256:")) || strings.HasSuffix(typed, "@"+id.String()) {
			byID[id] = true
		}
		ref, err := reference.ParseNormalizedNamed(typed)
		if err != nil {
			continue
		}
		delete(chosen, reference.TagNameOnly(ref).String())
		if t, ok := ref.(reference.NamedTagged); ok {
			if plain, err := reference.WithTag(reference.TrimNamed(ref), t.Tag()); err == nil {
				delete(chosen, plain.String())
			}
		}
	}
	return byID
}

// pruneOne removes a record, and adds what that freed to the report.
func (s *Store) pruneOne(ctx context.Context, img images.Image, report *api.PruneReport) error {
	f, err := s.factsOf(ctx, img.Target)
	if err != nil {
		return err
	}
	held := append(once(f.content), f.indexes...)
	sizes := map[digest.Digest]int64{}
	for _, c := range f.chains {
		if sizes[c], err = s.snapshotSizeOr0(ctx, c); err != nil {
			return err
		}
	}
	if err := s.Records().Delete(ctx, img.Name, images.SynchronousDelete()); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	name := familiar(img)
	s.tell(img.Target, events.ActionUnTag, name, nil)
	report.ImagesDeleted = append(report.ImagesDeleted, api.DeleteResponse{Untagged: name})
	deleted, err := s.freed(ctx, held, sizes, report)
	if deleted {
		s.tell(img.Target, events.ActionDelete, name, nil)
	}
	return err
}

// freed adds the blobs and snapshots that are gone to the report, and says whether a manifest is among them.
func (s *Store) freed(ctx context.Context, held []ocispec.Descriptor, sizes map[digest.Digest]int64, report *api.PruneReport) (deleted bool, _ error) {
	for _, d := range held {
		_, err := s.client.ContentStore().Info(ctx, d.Digest)
		if err == nil {
			continue
		}
		if !errdefs.IsNotFound(err) {
			return deleted, err
		}
		if images.IsManifestType(d.MediaType) || images.IsIndexType(d.MediaType) {
			deleted = true
			report.ImagesDeleted = append(report.ImagesDeleted, api.DeleteResponse{Deleted: d.Digest.String()})
		}
		report.SpaceReclaimed += uint64(d.Size)
	}
	snapshots := s.client.SnapshotService(s.snapshotter)
	for chain, size := range sizes {
		_, err := snapshots.Stat(ctx, chain.String())
		if err != nil && !errdefs.IsNotFound(err) {
			return deleted, err
		}
		if err != nil {
			s.index.touched(chain.String())
			report.SpaceReclaimed += uint64(size)
		}
	}
	return deleted, nil
}
