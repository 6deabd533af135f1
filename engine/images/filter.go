package images

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
)

// filter says whether a record passes.
type filter func(context.Context, images.Image) bool

// filter reads what a client filters images by.
func (s *Store) filter(ctx context.Context, args filters.Args) (filter, error) {
	var all []filter
	for _, order := range []string{"before", "since"} {
		for _, value := range args.Values(order) {
			f, err := s.byAge(ctx, value, order == "before")
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
	}
	for _, value := range args.Values("until") {
		until, err := filters.Time(value, time.Now())
		if err != nil {
			return nil, fault.Errorf(errdefs.ErrInvalidArgument, "invalid value for 'until' filter: %w", err)
		}
		all = append(all, func(_ context.Context, img images.Image) bool { return img.CreatedAt.Before(until) })
	}
	checks, err := labelChecks(args)
	if err != nil {
		return nil, err
	}
	if len(checks) > 0 {
		all = append(all, s.byLabels(checks))
	}
	if _, ok := args["dangling"]; ok {
		want, err := args.Bool("dangling", false)
		if err != nil {
			return nil, err
		}
		all = append(all, func(_ context.Context, img images.Image) bool { return isDangling(img) == want })
	}
	if patterns := args.Values("reference"); len(patterns) > 0 {
		all = append(all, func(_ context.Context, img images.Image) bool { return matchesReference(img.Name, patterns) })
	}
	return func(ctx context.Context, img images.Image) bool {
		for _, f := range all {
			if !f(ctx, img) {
				return false
			}
		}
		return true
	}, nil
}

// byAge passes images that were created before or after another one.
func (s *Store) byAge(ctx context.Context, name string, before bool) (filter, error) {
	other, err := s.Resolve(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	if other.Config.Created == nil {
		return func(context.Context, images.Image) bool { return true }, nil
	}
	limit := *other.Config.Created
	return func(ctx context.Context, img images.Image) bool {
		v, err := s.variantOf(ctx, img, nil)
		if err != nil || v.config.Created == nil {
			return false
		}
		if before {
			return v.config.Created.Before(limit)
		}
		return v.config.Created.After(limit)
	}, nil
}

// matchesReference says that a name, in one of the forms that clients write, matches a shell pattern.
func matchesReference(name string, patterns []string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	forms := []string{reference.FamiliarString(ref), reference.FamiliarName(ref), reference.TagNameOnly(ref).String(), ref.Name()}
	for _, p := range patterns {
		for _, f := range forms {
			if ok, err := path.Match(p, f); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// labelCheck is one label that must be there, or must not.
type labelCheck struct {
	key, value string
	// any value will do.
	any, negate bool
}

func labelChecks(args filters.Args) ([]labelCheck, error) {
	var checks []labelCheck
	for _, name := range []string{"label", "label!"} {
		for _, text := range args.Values(name) {
			k, v, found := strings.Cut(text, "=")
			if err := labels.Validate(k, v); err != nil {
				return nil, err
			}
			c := labelCheck{key: k, value: v, any: !found, negate: strings.HasSuffix(name, "!")}
			// "label=key!=value" means the opposite, too.
			if k, ok := strings.CutSuffix(c.key, "!"); ok {
				c.key, c.negate = k, !c.negate
			}
			checks = append(checks, c)
		}
	}
	return checks, nil
}

func (c labelCheck) pass(m map[string]string) bool {
	v, ok := m[c.key]
	if !c.any {
		ok = ok && v == c.value
	}
	return ok != c.negate
}

// byLabels passes images of which one variant that is here has all labels.
func (s *Store) byLabels(checks []labelCheck) filter {
	return func(ctx context.Context, img images.Image) bool {
		f, err := s.factsOf(ctx, img.Target)
		if err != nil {
			return false
		}
		for _, v := range f.variants {
			if v.readable && passAll(checks, v.config.Config.Labels) {
				return true
			}
		}
		return false
	}
}

func passAll(checks []labelCheck, m map[string]string) bool {
	for _, c := range checks {
		if !c.pass(m) {
			return false
		}
	}
	return true
}
