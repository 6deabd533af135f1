package images

import (
	"context"
	"net/http"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/image"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/images"
)

func (r *Router) list(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	o, err := listOptions(ctx, req)
	if err != nil {
		return err
	}
	list, err := r.images.List(ctx, o)
	if err != nil {
		return err
	}
	for i := range list {
		olden(ctx, &list[i])
	}
	if !httpapi.Before(ctx, "1.44") {
		return httpapi.WriteJSON(w, http.StatusOK, list)
	}
	old := make([]oldSummary, 0, len(list))
	for _, s := range list {
		old = append(old, oldSummary{s, s.Size})
	}
	return httpapi.WriteJSON(w, http.StatusOK, old)
}

// oldSummary has a field that newer versions dropped.
type oldSummary struct {
	api.Summary
	VirtualSize int64
}

func listOptions(ctx context.Context, req *http.Request) (images.ListOptions, error) {
	if err := httpapi.ParseForm(req); err != nil {
		return images.ListOptions{}, err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return images.ListOptions{}, err
	}
	// The oldest clients filter by name in a parameter of its own.
	if name := req.Form.Get("filter"); name != "" && httpapi.Before(ctx, "1.25") && len(args["reference"]) == 0 {
		if args == nil {
			args = filters.Args{}
		}
		args["reference"] = map[string]bool{name: true}
	}
	o := images.ListOptions{All: httpapi.Bool(req, "all"), Filters: args}
	o.SharedSize = !httpapi.Before(ctx, "1.42") && httpapi.Bool(req, "shared-size")
	o.Manifests = !httpapi.Before(ctx, "1.47") && httpapi.Bool(req, "manifests")
	o.Identity = !httpapi.Before(ctx, "1.54") && httpapi.Bool(req, "identity")
	if o.Identity && !o.Manifests {
		return o, fault.Errorf(errdefs.ErrInvalidArgument, "conflicting options: identity requires manifests=1")
	}
	return o, nil
}

// olden gives an entry the form that the client's version knows.
func olden(ctx context.Context, s *api.Summary) {
	if httpapi.Before(ctx, "1.43") {
		if len(s.RepoTags) == 0 && len(s.RepoDigests) == 0 {
			s.RepoTags, s.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
	} else {
		s.RepoTags, s.RepoDigests = list(s.RepoTags), list(s.RepoDigests)
	}
	if httpapi.Before(ctx, "1.48") {
		s.Descriptor = nil
	}
	if httpapi.Before(ctx, "1.51") {
		s.Containers = -1
	}
}

// list is never null in JSON.
func list(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}
