package images

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	api "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// InspectOptions says how much of an image a client wants to see.
type InspectOptions struct {
	// Manifests and Identity are told.
	Manifests, Identity bool
	// Platform is the variant to look at; nil for this machine's.
	Platform *ocispec.Platform
}

// Inspected is an image, with what older clients see of it.
type Inspected struct {
	api.InspectResponse
	// Parent is the id of the image that it was committed or built on.
	Parent string
	// Snapshotter keeps its layers.
	Snapshotter string
}

// Inspect tells everything about an image.
func (s *Store) Inspect(ctx context.Context, name string, o InspectOptions) (*Inspected, error) {
	record, err := s.find(ctx, name)
	if err != nil {
		return nil, err
	}
	f, err := s.factsOf(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	best := f.best(s.only(o.Platform), false)
	if best == nil && o.Platform != nil {
		return nil, noPlatform(name, o.Platform)
	}
	target, size := record.Target, f.size
	if best != nil {
		size = best.contentSize + best.unpacked
		if o.Platform != nil {
			target = best.desc
		}
	} else {
		best = &variant{}
	}
	records := s.index.targeting(record.Target.Digest)
	in := &Inspected{
		InspectResponse: api.InspectResponse{ID: target.Digest.String(), Descriptor: &target, Size: size},
		Parent:          s.parentOf(record.Target.Digest).String(), Snapshotter: s.snapshotter,
	}
	in.RepoTags, in.RepoDigests = repositories(records)
	in.Metadata.LastTagTime = lastTagged(records)
	if o.Manifests {
		in.Manifests = f.manifests(s.users())
	}
	if o.Identity {
		if in.Identity, err = s.identity(ctx, record.Target); err != nil {
			slog.Debug("where an image came from is not known", "image", name, "error", err)
		}
	}
	in.describe(best)
	return in, nil
}

// describe tells what a variant's configuration says.
func (in *Inspected) describe(v *variant) {
	config := v.config.Config
	in.Config = &config
	in.Author = v.config.Author
	in.Architecture, in.Variant = v.config.Architecture, v.config.Variant
	in.Os, in.OsVersion = v.config.OS, v.config.OSVersion
	if n := len(v.config.History); n > 0 {
		in.Comment = v.config.History[n-1].Comment
	}
	if v.config.Created != nil {
		in.Created = v.config.Created.Format(time.RFC3339Nano)
	}
	in.RootFS.Type = v.config.RootFS.Type
	for _, d := range v.config.RootFS.DiffIDs {
		in.RootFS.Layers = append(in.RootFS.Layers, d.String())
	}
}

// lastTagged is when a record of an image was made or changed last.
func lastTagged(records []images.Image) time.Time {
	last := time.Unix(0, 0)
	for _, img := range records {
		if img.UpdatedAt.After(last) {
			last = img.UpdatedAt
		}
	}
	return last
}

// repositories is the names of an image, and its digest in each repository.
func repositories(records []images.Image) (tags, digests []string) {
	for _, img := range records {
		if isDangling(img) {
			continue
		}
		ref, err := reference.ParseNamed(img.Name)
		if err != nil {
			tags = append(tags, img.Name)
			continue
		}
		tags = append(tags, reference.FamiliarString(ref))
		if _, ok := ref.(reference.Digested); !ok {
			digested, err := reference.WithDigest(reference.TrimNamed(ref), img.Target.Digest)
			if err != nil {
				continue
			}
			ref = digested
		}
		digests = append(digests, reference.FamiliarString(ref))
	}
	return unique(tags), unique(digests)
}

// unique leaves the first of what is repeated.
func unique(list []string) []string {
	var out []string
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
