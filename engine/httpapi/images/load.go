package images

import (
	"context"
	"net/http"

	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/progress"
)

func (r *Router) load(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	// The body is the archive, whatever it is declared as: only the query is read.
	query := req.URL.Query()
	wanted, err := platforms(ctx, query["platform"])
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	out := progress.NewWriter(httpapi.NewStream(w))
	if err := r.images.Load(ctx, req.Body, wanted, out.Stream); err != nil {
		out.Error(err)
	}
	return nil
}

// save answers with an archive of images.
func (r *Router) save(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	wanted, err := platforms(ctx, req.Form["platform"])
	if err != nil {
		return err
	}
	names := req.Form["names"]
	if name, ok := vars["name"]; ok {
		names = []string{name}
	}
	stream := httpapi.NewStream(w)
	w.Header().Set("Content-Type", "application/x-tar")
	err = r.images.Save(ctx, names, wanted, stream)
	if err != nil && stream.Started() {
		progress.NewWriter(stream).Error(err)
		return nil
	}
	return err
}
