package images

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// DeleteOptions says how an image is removed.
type DeleteOptions struct {
	// Force removes an image that has several names, or that a stopped container was made from.
	Force bool
	// PruneParents removes nameless images that it was built on, too.
	PruneParents bool
	// Platforms are the variants to remove; all when empty.
	Platforms []ocispec.Platform
}

// Delete takes a name from an image, or removes it with its content when that was its last name or its id was given.
func (s *Store) Delete(ctx context.Context, name string, o DeleteOptions) ([]api.DeleteResponse, error) {
	if len(o.Platforms) > 0 && !o.Force {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "Content will be removed from all images referencing this variant. Use —-force to force delete.")
	}
	d, err := s.deletion(ctx, name, o)
	if err != nil {
		return nil, err
	}
	if d.byID {
		d.manyNames = len(d.same(nil)) == len(d.all)
	} else {
		same := d.same(d.named)
		if len(same) < len(d.all) && len(o.Platforms) == 0 {
			return s.untag(ctx, same)
		}
		// All its names are of one image by one name: they go together.
		d.manyNames = true
		if c := s.userOf(d.id, o.Platforms); c != nil && d.exact && len(same) == len(d.all) {
			return s.deleteUsed(ctx, d, c)
		}
	}
	if len(o.Platforms) > 0 {
		return s.deletePlatforms(ctx, d.record, o.Platforms)
	}
	return s.deleteAll(ctx, d)
}

// deletion is one removal.
type deletion struct {
	DeleteOptions
	// record is what the client means; named is its name as the client wrote it.
	record images.Image
	named  reference.Named
	id     digest.Digest
	// all is the records of the image.
	all []images.Image
	// byID says that the image was named by its id, exact that the record has the very name.
	byID, exact bool
	// manyNames says that several names are no reason to refuse.
	manyNames bool
}

func (s *Store) deletion(ctx context.Context, name string, o DeleteOptions) (*deletion, error) {
	record, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &deletion{DeleteOptions: o, record: record, id: record.Target.Digest}
	d.all = s.index.targeting(d.id)
	d.byID = isIDPrefix(d.id, name) || strings.HasPrefix(name, danglingPrefix)
	if !d.byID {
		if d.named, err = reference.ParseNormalizedNamed(name); err != nil {
			return nil, fault.As(errdefs.ErrInvalidArgument, err)
		}
		d.exact = reference.TagNameOnly(d.named).String() == record.Name
	}
	return d, nil
}

// same is the records that carry a name: the same repository and tag, or every tag when the name has a digest. Without
// a name it is that of the first record. Records without a name go along, and those by digest with the last tag.
func (d *deletion) same(named reference.Named) []images.Image {
	tag, allTags := "", false
	if named != nil {
		_, allTags = named.(reference.Digested)
		if t, ok := reference.TagNameOnly(named).(reference.Tagged); ok && !allTags {
			tag = t.Tag()
		}
	}
	var same, byDigest []images.Image
	otherTags := false
	for _, img := range d.all {
		ref, err := reference.ParseNamed(img.Name)
		if isDangling(img) || err != nil {
			same = append(same, img)
			continue
		}
		if named == nil {
			named = ref
		}
		if ref.Name() != named.Name() {
			continue
		}
		t, tagged := ref.(reference.Tagged)
		if tagged && tag == "" {
			tag = t.Tag()
		}
		switch {
		case allTags || tagged && t.Tag() == tag:
			same = append(same, img)
		case tagged:
			otherTags = true
		default:
			byDigest = append(byDigest, img)
		}
	}
	if !otherTags {
		same = append(same, byDigest...)
	}
	return same
}

// untag takes names away. The image has others.
func (s *Store) untag(ctx context.Context, list []images.Image) ([]api.DeleteResponse, error) {
	var gone []api.DeleteResponse
	for _, img := range list {
		if err := s.Records().Delete(ctx, img.Name); err != nil {
			return nil, err
		}
		if ref, err := reference.ParseNormalizedNamed(img.Name); err == nil && !isDangling(img) {
			s.tell(img.Target, events.ActionUnTag, reference.FamiliarString(ref), nil)
			gone = append(gone, api.DeleteResponse{Untagged: reference.FamiliarString(ref)})
		}
	}
	return gone, nil
}

// userOf is a container that needs an image; nil when there is none.
func (s *Store) userOf(id digest.Digest, only []ocispec.Platform) *container.Container {
	for _, c := range s.containers.List() {
		if c.Image.Target.Digest == id && matchesAny(c.Platform, only) {
			return c
		}
		for _, m := range c.Mounts {
			if m.Type == "image" && m.Spec.Source == id.String() {
				return c
			}
		}
	}
	return nil
}

func matchesAny(p ocispec.Platform, list []ocispec.Platform) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(want ocispec.Platform) bool { return platforms.OnlyStrict(want).Match(p) })
}

// deleteUsed takes the last name of an image that a container needs, when that is forced.
func (s *Store) deleteUsed(ctx context.Context, d *deletion, c *container.Container) ([]api.DeleteResponse, error) {
	name := familiar(d.record)
	if !d.Force {
		return nil, inConflict(name, false, fmt.Sprintf("container %s is using its referenced image %s", short(c.ID), short(d.id.Encoded())))
	}
	if len(d.Platforms) > 0 {
		return s.deletePlatforms(ctx, d.record, d.Platforms)
	}
	if err := s.keepNameless(ctx, d.record); err != nil {
		return nil, err
	}
	if err := s.Records().Delete(context.WithoutCancel(ctx), d.record.Name); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	s.tell(d.record.Target, events.ActionUnTag, name, nil)
	return []api.DeleteResponse{{Untagged: name}}, nil
}

// deleteAll removes an image with all its names, and nameless ones that it was built on.
func (s *Store) deleteAll(ctx context.Context, d *deletion) ([]api.DeleteResponse, error) {
	parents := s.ancestors(d.record)
	var gone []api.DeleteResponse
	for _, img := range d.all {
		if err := s.conflict(d.id, len(d.all) > 1 && !d.manyNames, d.Force); err != nil {
			return gone, err
		}
		if err := s.keepForChildren(ctx, d, img); err != nil {
			return gone, err
		}
		records, err := s.deleteRecord(ctx, img)
		if err != nil {
			return gone, err
		}
		gone = append(gone, records...)
	}
	s.tell(d.record.Target, events.ActionDelete, d.id.String(), nil)
	gone = append(gone, api.DeleteResponse{Deleted: d.id.String()})
	if !d.PruneParents {
		return gone, nil
	}
	for _, p := range parents {
		if !s.removable(p) {
			break
		}
		records, err := s.deleteRecord(ctx, p)
		if err != nil {
			slog.Warn("an image that another one was built on is left", "image", p.Target.Digest, "error", err)
			break
		}
		s.tell(p.Target, events.ActionDelete, p.Target.Digest.String(), nil)
		gone = append(gone, append(records, api.DeleteResponse{Deleted: p.Target.Digest.String()})...)
	}
	return gone, nil
}

// removable says that nothing needs a nameless image.
func (s *Store) removable(img images.Image) bool {
	id := img.Target.Digest
	return isDangling(img) && !s.hasChildren(id) && s.conflict(id, len(s.index.targeting(id)) > 1, false) == nil
}

// keepForChildren leaves a nameless record in place of the last name of an image that others were built on.
func (s *Store) keepForChildren(ctx context.Context, d *deletion, img images.Image) error {
	if isDangling(img) || len(d.all) > 1 || d.Force || !s.hasChildren(d.id) {
		return nil
	}
	_, err := s.Records().Create(ctx, images.Image{Name: danglingName(d.id), Target: img.Target, Labels: img.Labels})
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// deleteRecord removes a record, and waits until the content that only it held is gone.
func (s *Store) deleteRecord(ctx context.Context, img images.Image) ([]api.DeleteResponse, error) {
	if err := s.Records().Delete(ctx, img.Name, images.SynchronousDelete()); err != nil {
		return nil, err
	}
	if isDangling(img) {
		return nil, nil
	}
	name := familiar(img)
	s.tell(img.Target, events.ActionUnTag, name, nil)
	return []api.DeleteResponse{{Untagged: name}}, nil
}

// ancestors is the images that one was built on, the nearest first.
func (s *Store) ancestors(img images.Image) []images.Image {
	var list []images.Image
	seen := map[digest.Digest]bool{img.Target.Digest: true}
	for {
		parents := s.index.targeting(digest.Digest(img.Labels[parentLabel]))
		if len(parents) == 0 || seen[parents[0].Target.Digest] {
			return list
		}
		img = parents[0]
		seen[img.Target.Digest] = true
		list = append(list, img)
	}
}

// Children is the ids of images that were committed or built on another one; on nothing when it is empty.
func (s *Store) Children(ctx context.Context, parent digest.Digest) ([]digest.Digest, error) {
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	return s.children(parent), nil
}

func (s *Store) hasChildren(parent digest.Digest) bool { return len(s.children(parent)) > 0 }

func (s *Store) children(parent digest.Digest) []digest.Digest {
	var list []digest.Digest
	for _, img := range s.index.all() {
		of, built := img.Labels[parentLabel]
		if parent == "" {
			built = img.Labels[fromNothingLabel] == "1"
			of = ""
		}
		if built && of == parent.String() && !slices.Contains(list, img.Target.Digest) {
			list = append(list, img.Target.Digest)
		}
	}
	return list
}

// conflict says why an image cannot be removed: a running container always, a stopped one or several names unless forced.
func (s *Store) conflict(id digest.Digest, manyNames, force bool) error {
	var stopped *container.Container
	for _, c := range s.containers.List() {
		if c.Image.Target.Digest != id {
			continue
		}
		if c.State.Running() || c.State.Status == container.Restarting {
			return inConflict(short(id.Encoded()), true, "image is being used by running container "+short(c.ID))
		}
		if stopped == nil {
			stopped = c
		}
	}
	switch {
	case force:
		return nil
	case stopped != nil:
		return inConflict(short(id.Encoded()), false, "image is being used by stopped container "+short(stopped.ID))
	case manyNames:
		return inConflict(short(id.Encoded()), false, "image is referenced in multiple repositories")
	}
	return nil
}

func inConflict(name string, hard bool, why string) error {
	how := "must be forced"
	if hard {
		how = "cannot be forced"
	}
	return fault.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (%s) - %s", name, how, why)
}

// short is an id as clients show it.
func short(id string) string { return id[:min(12, len(id))] }

// deletePlatforms removes the content of variants. The record stays, for the others.
func (s *Store) deletePlatforms(ctx context.Context, record images.Image, list []ocispec.Platform) ([]api.DeleteResponse, error) {
	var gone []api.DeleteResponse
	for _, p := range list {
		deleted, err := s.deletePlatform(ctx, record, p)
		if err != nil {
			return nil, fmt.Errorf("failed to delete platform %s for image %s: %w", platforms.Format(p), record.Target.Digest, err)
		}
		gone = append(gone, deleted...)
	}
	return gone, nil
}

func (s *Store) deletePlatform(ctx context.Context, record images.Image, p ocispec.Platform) ([]api.DeleteResponse, error) {
	f, err := s.factsOf(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	v := f.best(s.only(&p), true)
	if v == nil {
		return nil, noPlatform(familiar(record), nil)
	}
	blobs := s.client.ContentStore()
	var m ocispec.Manifest
	if err := readJSON(ctx, blobs, v.desc, &m); err != nil {
		return nil, err
	}
	var gone []api.DeleteResponse
	for _, d := range append([]ocispec.Descriptor{v.desc, m.Config}, m.Layers...) {
		err := blobs.Delete(ctx, d.Digest)
		s.index.touched(d.Digest.String())
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		if err == nil && d.Digest == v.desc.Digest {
			gone = append(gone, api.DeleteResponse{Deleted: d.Digest.String()})
		}
	}
	return gone, nil
}
