package attach

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

func (s *Routes) resize(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	height, err := Size(r, "h")
	if err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid resize height %q: %w", r.Form.Get("h"), err)
	}
	width, err := Size(r, "w")
	if err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid resize width %q: %w", r.Form.Get("w"), err)
	}
	c, err := s.Containers.Get(vars["name"])
	if err != nil {
		return err
	}
	if !c.State.Running() {
		return fault.Errorf(errdefs.ErrConflict, "container %s is not running", c.ID)
	}
	if err := s.Terminals.Resize(context.WithoutCancel(ctx), c.ID, "", width, height); err != nil {
		return err
	}
	s.tell(c, events.ActionResize, map[string]string{
		"height": strconv.FormatUint(uint64(height), 10), "width": strconv.FormatUint(uint64(width), 10),
	})
	w.WriteHeader(http.StatusOK)
	return nil
}

// Size reads one side of a terminal, in characters. Its errors are those that dockerd tells.
func Size(r *http.Request, key string) (uint32, error) {
	v, negative := strings.CutPrefix(r.Form.Get(key), "-")
	if v == "" || v[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	if negative && n != 0 {
		return 0, strconv.ErrRange
	}
	return uint32(n), nil
}
