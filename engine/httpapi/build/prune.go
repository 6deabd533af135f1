package build

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/buildkit"
	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// pruneFilters are those of BuildKit's cache.
var pruneFilters = slices.Concat([]string{"unused-for", "until", "label", "label!"}, config.CacheFields)

func (b routes) prune(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	p, err := pruneRequest(ctx, r)
	if err != nil {
		return err
	}
	if b.kit == nil {
		return httpapi.WriteJSON(w, http.StatusOK, b.classic.Prune(ctx))
	}
	report, err := b.kit.Prune(ctx, p)
	if err != nil {
		return fmt.Errorf("failed to prune build cache: %w", err)
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}

func pruneRequest(ctx context.Context, r *http.Request) (p buildkit.Prune, _ error) {
	if err := httpapi.ParseForm(r); err != nil {
		return p, err
	}
	args, err := filters.Parse(r.Form.Get("filters"))
	if err != nil {
		return p, err
	}
	p.All = httpapi.Bool(r, "all")
	if err := measures(ctx, r, &p); err != nil {
		return p, err
	}
	if err := args.Only(pruneFilters...); err != nil {
		return p, fault.Errorf(errdefs.ErrInvalidArgument, "failed to prune build cache: %w", err)
	}
	if err := narrow(args, &p); err != nil {
		return p, fault.Errorf(errdefs.ErrInvalidArgument, "failed to prune build cache: %w", err)
	}
	return p, nil
}

// measures reads the sizes. The oldest has a new name since 1.48, which counts if it is there.
func measures(ctx context.Context, r *http.Request, p *buildkit.Prune) (err error) {
	if httpapi.Before(ctx, "1.48") {
		p.Reserved, err = measure(r, "keep-storage")
		return err
	}
	if p.Reserved, err = measure(r, "reserved-space"); err == nil && p.Reserved == 0 {
		p.Reserved, err = measure(r, "keep-storage")
	}
	if err == nil {
		p.MaxUsed, err = measure(r, "max-used-space")
	}
	if err == nil {
		p.MinFree, err = measure(r, "min-free-space")
	}
	return err
}

func measure(r *http.Request, name string) (int64, error) {
	v := r.FormValue(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fault.Errorf(errdefs.ErrInvalidArgument, "%s is in bytes and expects an integer, got %v: %w", name, v, err)
	}
	return int64(n), nil
}

// narrow puts filters in BuildKit's words: what is removed fits all of them.
func narrow(args filters.Args, p *buildkit.Prune) error {
	if args.Has("until") && args.Has("unused-for") {
		return fault.Errorf(errdefs.ErrInvalidArgument, `conflicting filters: "until" and "unused-for"`)
	}
	for _, name := range []string{"until", "unused-for"} {
		switch values := args.Values(name); len(values) {
		case 0:
		case 1:
			now := time.Now()
			t, err := filters.Time(values[0], now)
			if err != nil {
				return fault.Errorf(errdefs.ErrInvalidArgument, "%q filter expects a duration (e.g., '24h') or a timestamp: %w", name, err)
			}
			p.Keep = now.Sub(t)
		default:
			return fault.Errorf(errdefs.ErrInvalidArgument, "filters expect only one value")
		}
	}
	var all []string
	for _, field := range config.CacheFields {
		if !args.Has(field) {
			continue
		}
		switch values := args.Values(field); len(values) {
		case 0:
			all = append(all, config.CacheFilter(field, ""))
		case 1:
			all = append(all, config.CacheFilter(field, values[0]))
		default:
			return fault.Errorf(errdefs.ErrInvalidArgument, "filters expect only one value")
		}
	}
	p.Filters = []string{strings.Join(all, ",")}
	return nil
}
