package containers

import (
	"context"
	"net/http"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

func (r router) prune(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	if err := args.Only("label", "label!", "until"); err != nil {
		return err
	}
	until, err := until(args)
	if err != nil {
		return invalid(err)
	}
	report, err := r.containers.Prune(ctx, containers.Prune{Until: until, Labels: func(labels map[string]string) bool {
		if !args.Labels("label", labels) {
			return false
		}
		return len(args.Values("label!")) == 0 || !args.Labels("label!", labels)
	}})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, report)
}
