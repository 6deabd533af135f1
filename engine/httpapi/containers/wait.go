package containers

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// wait answers at once with the header, so that the client knows that nothing will be missed, and later with the body.
func (r router) wait(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	early := !httpapi.Before(ctx, "1.30")
	condition := api.WaitConditionNotRunning
	if early {
		if err := httpapi.ParseForm(req); err != nil {
			return err
		}
		switch c := api.WaitCondition(req.Form.Get("condition")); c {
		case "":
		case api.WaitConditionNotRunning, api.WaitConditionNextExit, api.WaitConditionRemoved:
			condition = c
		default:
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid condition: %q", c)
		}
	}
	results, err := r.containers.Wait(ctx, vars["name"], condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if early {
		w.WriteHeader(http.StatusOK)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
	select {
	case <-ctx.Done():
		return nil // Nobody reads.
	case result := <-results:
		answer := api.WaitResponse{StatusCode: int64(result.ExitCode)}
		if result.Error != "" {
			if condition == api.WaitConditionRemoved && httpapi.Before(ctx, "1.34") {
				return nil // An empty answer is the only error that these clients know.
			}
			answer.Error = &api.WaitExitError{Message: result.Error}
		}
		return json.NewEncoder(w).Encode(answer)
	}
}
