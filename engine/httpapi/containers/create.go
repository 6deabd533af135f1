package containers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/containers"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

func (r router) create(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	// Some fields that clients of old send are gone from the types.
	var raw bytes.Buffer
	if req.Body != nil {
		req.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(req.Body, &raw), req.Body}
	}
	var body api.CreateRequest
	err := httpapi.ReadJSON(req, &body)
	if err == nil && raw.Len() == 0 || errors.Is(err, io.EOF) {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: %w", io.EOF) // no container says nothing
	}
	if err != nil {
		return err
	}
	c := containers.Create{Name: req.Form.Get("name"), CreateRequest: body, Body: raw.Bytes(), Version: httpapi.Version(ctx)}
	if p := req.Form.Get("platform"); p != "" && !httpapi.Before(ctx, "1.41") {
		platform, err := platforms.Parse(p)
		if err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
		c.Platform = &platform
	}
	answer, err := r.containers.Create(ctx, c)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, answer)
}
