package views

import (
	"context"
	"time"

	api "github.com/moby/moby/api/types/container"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/container"
)

type sizes struct{ rw, root int64 }

// listed is an entry with what is of now.
type listed struct {
	*entry
	image  string
	sizes  *sizes
	status string
}

// List is the containers that pass, the newest first.
func (s *Service) List(ctx context.Context, o ListOptions) ([]api.Summary, error) {
	list, err := s.list(ctx, o)
	if err != nil {
		return nil, err
	}
	out := make([]api.Summary, len(list))
	for i, l := range list {
		out[i] = *l.summary
		out[i].Image, out[i].Status = l.image, l.status
		if l.sizes != nil {
			out[i].SizeRw, out[i].SizeRootFs = l.sizes.rw, l.sizes.root
		}
	}
	return out, nil
}

// ListJSON is List, encoded as an API version shows it; before says whether the client's version is older than another.
func (s *Service) ListJSON(ctx context.Context, o ListOptions, before func(version string) bool) ([]byte, error) {
	list, err := s.list(ctx, o)
	if err != nil {
		return nil, err
	}
	sh := shapeOf(before)
	out := make([]byte, 0, 2+1024*len(list))
	out = append(out, '[')
	for i, l := range list {
		p, err := s.encoded(l.entry, sh)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = p.appendTo(out, l.image, l.sizes, l.status)
	}
	return append(out, ']', '\n'), nil
}

func shapeOf(before func(version string) bool) shape {
	switch {
	case before("1.46"):
		return oldest
	case before("1.48"):
		return withAnnotations
	case before("1.52"):
		return withManifest
	}
	return withHealth
}

func (s *Service) list(ctx context.Context, o ListOptions) ([]listed, error) {
	f, err := s.filter(ctx, o)
	if err != nil {
		return nil, err
	}
	if f.Size {
		select {
		case s.sizing <- struct{}{}:
			defer func() { <-s.sizing }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	records := s.Records.List()
	s.sweep(records)
	now := time.Now()
	names, aliases := map[string]string{}, s.aliases(records)
	list := make([]listed, 0, len(records))
	for _, c := range f.between(records) {
		if f.Limit > 0 && len(list) == f.Limit {
			break
		}
		st := s.state(c)
		if !f.cheap(c, st) {
			continue
		}
		e := s.entry(c, st, aliases[c.ID])
		if !f.full(e.summary) {
			continue
		}
		l := listed{entry: e, image: s.imageName(ctx, c, names), status: statusOf(st, now)}
		if f.Size {
			if l.sizes, err = s.sizes(ctx, c.ID); err != nil {
				return nil, err
			}
		}
		list = append(list, l)
	}
	return list, nil
}

// aliases are what linked containers call others, by the id of these: "/parent/alias".
func (s *Service) aliases(records []*container.Container) map[string][]string {
	all := map[string][]string{}
	for _, c := range records {
		for _, l := range c.LegacyLinks() {
			name, alias := container.SplitLink(l)
			if other, err := s.Records.Get(name); err == nil {
				all[other.ID] = append(all[other.ID], "/"+c.Name+"/"+alias)
			}
		}
	}
	return all
}

// between cuts a list, the newest first, to what is older than "before" and newer than "since".
func (f *filter) between(records []*container.Container) []*container.Container {
	from, to := 0, len(records)
	if f.before != "" {
		from = to // When it is not there (any more), nothing is before it.
	}
	for i, c := range records {
		switch c.ID {
		case f.before:
			from = i + 1
		case f.since:
			to = i
		}
	}
	if f.since == f.before && f.since != "" {
		to = from // Nothing is both.
	}
	if from > to {
		return nil
	}
	return records[from:to]
}

// imageName is the name by which a container's image was asked for, or the image's id when the name means something
// else by now. Answers are kept for one list.
func (s *Service) imageName(ctx context.Context, c *container.Container, known map[string]string) string {
	id := imageID(c)
	if c.Config == nil || c.Config.Image == id {
		return id
	}
	now, ok := known[c.Config.Image]
	if !ok {
		if img, err := s.Images.Resolve(ctx, c.Config.Image, nil); err == nil {
			now = img.Target.Digest.String()
		}
		known[c.Config.Image] = now
	}
	if now != id {
		return id
	}
	return c.Config.Image
}

// sizes measures a container. One that has gone meanwhile has none.
func (s *Service) sizes(ctx context.Context, id string) (*sizes, error) {
	rw, err := s.Sizes.Usage(ctx, id)
	if err == nil {
		var root int64
		if root, err = s.Sizes.Total(ctx, id); err == nil {
			return &sizes{rw, root}, nil
		}
	}
	if errdefs.IsNotFound(err) {
		return &sizes{}, nil
	}
	return nil, err
}
