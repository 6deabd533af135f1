package images

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
)

// danglingPrefix begins the names of records that only keep an image which has no name.
const danglingPrefix = "moby-dangling@"

// parentLabel, on a record, is the id of the image that it was committed or built on.
const parentLabel = "org.mobyproject.image.parent"

// Resolve finds an image by name, id or the beginning of an id, for a platform (nil for this machine's, or else any).
// Not found: "No such image: busybox:latest".
func (s *Store) Resolve(ctx context.Context, name string, platform *ocispec.Platform) (*Image, error) {
	record, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := s.variantOf(ctx, record, platform)
	if err != nil {
		return nil, err
	}
	img := &Image{Target: record.Target, Manifest: v.desc, Config: v.config}
	if len(v.chains) > 0 {
		img.ChainID = v.chains[len(v.chains)-1]
	}
	img.Parent = s.parentOf(record.Target.Digest)
	if !isDangling(record) && !isIDPrefix(record.Target.Digest, name) {
		img.Name = record.Name
	}
	return img, nil
}

// variantOf is the variant of a record that is here for a platform.
func (s *Store) variantOf(ctx context.Context, record images.Image, platform *ocispec.Platform) (*variant, error) {
	f, err := s.factsOf(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	if v := f.best(s.only(platform), true); v != nil {
		return v, nil
	}
	return nil, noPlatform(familiar(record), platform)
}

// find finds the record that a client means. What is not in memory is asked for, in case it has just come.
func (s *Store) find(ctx context.Context, name string) (images.Image, error) {
	if err := s.fresh(ctx); err != nil {
		return images.Image{}, err
	}
	img, err := s.lookup(name)
	if err != nil && errdefs.IsNotFound(err) && s.index.isLive() {
		if err := s.askFor(ctx, name); err != nil {
			return images.Image{}, err
		}
		return s.lookup(name)
	}
	return img, err
}

// askFor brings a name that is not in memory there, when the manager has it.
func (s *Store) askFor(ctx context.Context, name string) error {
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	if named, ok := ref.(reference.Named); ok {
		if _, digested := ref.(reference.Digested); !digested {
			return s.refresh(ctx, reference.TagNameOnly(named).String())
		}
	}
	if d, ok := ref.(reference.Digested); ok {
		list, err := s.client.ImageService().List(ctx, "target.digest=="+d.Digest().String())
		if err != nil {
			return err
		}
		for _, img := range list {
			if err := s.refresh(ctx, img.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookup finds a record in memory.
func (s *Store) lookup(name string) (images.Image, error) {
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return images.Image{}, fault.As(errdefs.ErrInvalidArgument, err)
	}
	if d, ok := ref.(reference.Digested); ok {
		return s.lookupDigest(ref, d.Digest())
	}
	full := reference.TagNameOnly(ref.(reference.Named)).String()
	if img, ok := s.index.get(full); ok {
		return img, nil
	}
	if digits := truncatedID(name); digits != "" {
		targets := s.index.beginning(digits)
		if len(targets) > 1 {
			return images.Image{}, fault.Errorf(errdefs.ErrNotFound, "ambiguous reference")
		}
		if len(targets) == 1 {
			if list := s.index.targeting(targets[0]); len(list) > 0 {
				return list[0], nil
			}
		}
	}
	return images.Image{}, noSuchImage(ref)
}

// lookupDigest finds a record by its target. With a name in front, the record's name must be of that repository.
func (s *Store) lookupDigest(ref reference.Reference, target digest.Digest) (images.Image, error) {
	list := s.index.targeting(target)
	named, ok := ref.(reference.Named)
	if !ok && len(list) > 0 {
		return list[0], nil
	}
	for _, img := range list {
		if n, err := reference.ParseNormalizedNamed(img.Name); err == nil && ok && n.Name() == named.Name() {
			return img, nil
		}
	}
	return images.Image{}, noSuchImage(ref)
}

func noSuchImage(ref reference.Reference) error {
	if named, ok := ref.(reference.Named); ok {
		ref = reference.TagNameOnly(named)
	}
	return fault.Errorf(errdefs.ErrNotFound, "No such image: %s", reference.FamiliarString(ref))
}

// truncatedID is the digits of what may be an id or the beginning of one; empty otherwise.
func truncatedID(name string) string {
	digits := strings.TrimPrefix(name, "sha256:")
	if len(digits) < 4 || len(digits) > 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return ""
	}
	return digits
}

// isIDPrefix says that a client named an image by its id or the beginning of it.
func isIDPrefix(id digest.Digest, name string) bool {
	return strings.HasPrefix(id.String(), name) || strings.HasPrefix(id.Encoded(), name)
}

func danglingName(target digest.Digest) string { return danglingPrefix + target.String() }

func isDangling(img images.Image) bool { return img.Name == danglingName(img.Target.Digest) }

// familiar is a record's name as clients write it; the id when it has none.
func familiar(img images.Image) string {
	if isDangling(img) {
		return img.Target.Digest.String()
	}
	if ref, err := reference.ParseNamed(img.Name); err == nil {
		return reference.FamiliarString(ref)
	}
	return img.Name
}

// parentOf is the parent that the records of a target agree on; empty otherwise.
func (s *Store) parentOf(target digest.Digest) digest.Digest {
	var parent string
	for _, img := range s.index.targeting(target) {
		if p := img.Labels[parentLabel]; p != "" {
			if parent != "" && parent != p {
				return ""
			}
			parent = p
		}
	}
	d, err := digest.Parse(parent)
	if err != nil {
		return ""
	}
	return d
}
