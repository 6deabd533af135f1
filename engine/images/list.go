package images

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	api "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-containers/gantry/engine/filters"
)

// ListOptions says which images a client wants to see, and how much of them.
type ListOptions struct {
	// All shows images in between, too: parents without a name.
	All     bool
	Filters filters.Args
	// SharedSize is worked out, Manifests are told, with Identity.
	SharedSize, Manifests, Identity bool
}

// entry is an image of a list: all records of one target.
type entry struct {
	record images.Image
	tags   []string
	facts  *facts
}

// List is the images that pass the filters, the newest first.
func (s *Store) List(ctx context.Context, o ListOptions) ([]api.Summary, error) {
	if err := o.Filters.Only("dangling", "label", "label!", "before", "since", "reference", "until"); err != nil {
		return nil, err
	}
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	pass, err := s.filter(ctx, o.Filters)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, pass, o.All)
	if err != nil {
		return nil, err
	}
	used, order := s.users(), s.anyFor()
	list := make([]api.Summary, 0, len(entries))
	for _, e := range entries {
		sum := s.summary(e, used, order)
		if o.Manifests {
			sum.Manifests = e.facts.manifests(used)
		}
		if o.Identity {
			s.identify(ctx, e.record.Target, sum.Manifests)
		}
		list = append(list, sum)
	}
	if o.SharedSize {
		if err := s.share(ctx, entries, list); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b api.Summary) int { return int(b.Created - a.Created) })
	return list, nil
}

// entries groups the records that pass by what they point to.
func (s *Store) entries(ctx context.Context, pass filter, all bool) ([]*entry, error) {
	records := s.index.all()
	between := map[digest.Digest]bool{}
	if !all {
		for _, img := range records {
			between[digest.Digest(img.Labels[parentLabel])] = true
		}
	}
	byTarget := map[digest.Digest]*entry{}
	var list []*entry
	for _, img := range records {
		dangling := isDangling(img)
		if dangling && between[img.Target.Digest] || !pass(ctx, img) {
			continue
		}
		e, ok := byTarget[img.Target.Digest]
		if !ok {
			e = &entry{record: img}
			byTarget[img.Target.Digest] = e
			list = append(list, e)
		}
		if dangling {
			continue
		}
		e.record = img
		if ref := s.index.spelling(img).reference; ref != "" {
			e.tags = append(e.tags, ref)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, e := range list {
		if f, _ := s.index.known(e.record.Target.Digest); f != nil {
			e.facts = f.seenAs(e.record.Target)
			continue
		}
		group.Go(func() (err error) {
			e.facts, err = s.factsOf(ctx, e.record.Target)
			return err
		})
	}
	return list, group.Wait()
}

// users is the containers' ids by the manifest that they were made from.
func (s *Store) users() map[digest.Digest][]string {
	used := map[digest.Digest][]string{}
	for _, c := range s.containers.List() {
		if d := c.Image.Manifest.Digest; d != "" {
			used[d] = append(used[d], c.ID)
		}
	}
	return used
}

func (s *Store) summary(e *entry, used map[digest.Digest][]string, order matcher) api.Summary {
	target := e.record.Target
	sum := api.Summary{
		ID: target.Digest.String(), RepoTags: e.tags, Size: e.facts.size, SharedSize: -1, Containers: -1, Descriptor: &target,
	}
	best := e.facts.best(order, false)
	if best == nil {
		sum.RepoDigests = []string{target.Digest.String()}
		return sum
	}
	sum.ParentID = e.record.Labels[parentLabel]
	sum.RepoTags, sum.RepoDigests = s.repositoryOf(e.record, sum.RepoTags)
	sum.Labels = best.config.Config.Labels
	if sum.Labels == nil {
		sum.Labels = map[string]string{}
	}
	if best.config.Created != nil {
		sum.Created = best.config.Created.Unix()
	}
	sum.Containers = 0
	for _, v := range e.facts.variants {
		if v.kind == runnable {
			sum.Containers += int64(len(used[v.desc.Digest]))
		}
	}
	return sum
}

// repositoryOf is the tags of an image and its digest in the repository of a record. A name that is no reference is shown
// as it is.
func (s *Store) repositoryOf(img images.Image, tags []string) (_, digests []string) {
	repository := s.index.spelling(img).repository
	if repository == "" {
		if !isDangling(img) {
			tags = append(tags, img.Name)
		}
		return tags, nil
	}
	return tags, []string{repository + "@" + img.Target.Digest.String()}
}

// manifests is what there is in an image, platform by platform.
func (f *facts) manifests(used map[digest.Digest][]string) []api.ManifestSummary {
	var list []api.ManifestSummary
	for _, v := range f.variants {
		m := api.ManifestSummary{ID: v.desc.Digest.String(), Descriptor: v.desc, Available: v.available, Kind: api.ManifestKindUnknown}
		m.Size.Content = v.contentSize
		m.Size.Total = v.contentSize + v.unpacked
		switch v.kind {
		case attestation:
			m.Kind = api.ManifestKindAttestation
			m.AttestationData = &api.AttestationProperties{For: v.subject}
		case runnable:
			m.Kind = api.ManifestKindImage
			m.ImageData = &api.ImageProperties{Platform: v.platform, Containers: used[v.desc.Digest]}
			m.ImageData.Size.Unpacked = v.unpacked
		case unknown:
		}
		list = append(list, m)
	}
	return list
}

// share fills in what images have in common with others of the list, in bytes.
func (s *Store) share(ctx context.Context, entries []*entry, list []api.Summary) error {
	chains, blobs := map[digest.Digest]int{}, map[digest.Digest]int{}
	for _, e := range entries {
		for _, c := range e.facts.chains {
			chains[c]++
		}
		for _, d := range once(e.facts.content) {
			blobs[d.Digest]++
		}
	}
	for i, e := range entries {
		list[i].SharedSize = 0
		for _, c := range e.facts.chains {
			if chains[c] == 1 {
				continue
			}
			size, err := s.snapshotSizeOr0(ctx, c)
			if err != nil {
				return err
			}
			list[i].SharedSize += size
		}
		for _, d := range once(e.facts.content) {
			if blobs[d.Digest] > 1 {
				list[i].SharedSize += d.Size
			}
		}
	}
	return nil
}

// once is the blobs without repetitions.
func once(list []ocispec.Descriptor) []ocispec.Descriptor {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return slices.CompactFunc(sorted, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
}
