package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
	"github.com/gantry-containers/gantry/engine/registry"
)

// push pushes one tag of a repository, or all.
func (b routes) push(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	ref, err := pushReference(vars["name"], r.Form.Get("tag"))
	if err != nil {
		return fault.As(errdefs.ErrInvalidArgument, err)
	}
	var platform *ocispec.Platform
	// Older clients send one that nobody has ever read.
	if p := r.Form.Get("platform"); p != "" && !httpapi.Before(ctx, "1.46") {
		if platform, err = decodePlatform(p); err != nil {
			return err
		}
	}
	return stream(w, func(out *progress.Writer) error {
		wanted := request(r)
		wanted.Platform = platform
		return b.Push(ctx, ref, wanted, out)
	})
}

func pushReference(name, tag string) (reference.Named, error) {
	if tag == "" {
		return reference.ParseNormalizedNamed(name)
	}
	return taggedReference(name, tag)
}

// decodePlatform reads a platform in JSON.
func decodePlatform(text string) (*ocispec.Platform, error) {
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "failed to parse platform: %w", err)
	}
	more := p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0
	if p.OS == "" && p.Architecture == "" && more {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "optional platform fields provided, but OS and Architecture are missing")
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "both OS and Architecture must be provided")
	}
	return &p, nil
}

// search asks an index of images.
func (b routes) search(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	form := r.URL.Query()
	q := registry.Search{Term: form.Get("term")}
	if limit := form.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid limit specified: %w", err)
		}
		if n < 0 {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid limit specified: %d", n)
		}
		q.Limit = n
	}
	args, err := filters.Parse(form.Get("filters"))
	if err != nil {
		return err
	}
	if err := filterSearch(args, &q); err != nil {
		return err
	}
	found, err := b.Search(ctx, q, request(r))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, found)
}

func filterSearch(args filters.Args, q *registry.Search) error {
	if err := args.Only("is-automated", "is-official", "stars"); err != nil {
		return err
	}
	var err error
	if q.Automated, err = args.Bool("is-automated", false); err != nil {
		return err
	}
	official, err := args.Bool("is-official", false)
	if err != nil {
		return err
	}
	if _, ok := args["is-official"]; ok {
		q.Official = &official
	}
	for _, v := range args.Values("stars") {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'stars=%s': %w", v, err)
		}
		q.Stars = max(q.Stars, n)
	}
	return nil
}
