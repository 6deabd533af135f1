package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types"
	api "github.com/moby/moby/api/types/events"

	"github.com/gantry-containers/gantry/engine/events"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/filters"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

func (r *Router) events(ctx context.Context, w http.ResponseWriter, req *http.Request, _ map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	since, until, err := span(req)
	if err != nil {
		return err
	}
	args, err := filters.Parse(req.Form.Get("filters"))
	if err != nil {
		return err
	}
	contentType := httpapi.JSONStream(ctx, req)
	out := eventWriter{w: w, rc: http.NewResponseController(w), old: httpapi.Before(ctx, "1.52"), hideCreate: httpapi.Before(ctx, "1.46")}
	if contentType == types.MediaTypeJSONSequence {
		out.separator = []byte{0x1e}
	}
	l := r.bus.Listen(since, until, args)
	defer l.Close()
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	if err := out.rc.Flush(); err != nil {
		return err
	}
	for buf := []*events.Event(nil); ; {
		buf, err = l.Next(ctx, buf[:0])
		if err == nil && len(buf) > 0 {
			err = out.write(buf)
		}
		switch {
		case errors.Is(err, events.ErrSlow):
			slog.Warn("a listener to events was cut off", "client", req.RemoteAddr, "agent", req.UserAgent())
			return nil
		case err != nil || len(buf) == 0:
			return nil
		}
	}
}

// span reads since and until, seconds since 1970.
func span(req *http.Request) (since, until time.Time, err error) {
	for key, to := range map[string]*time.Time{"since": &since, "until": &until} {
		t, err := timestamp(req.Form.Get(key))
		if err != nil {
			return since, until, fault.Errorf(errdefs.ErrInvalidArgument, "invalid value for '%s': %w", key, err)
		}
		*to = t
	}
	if !until.IsZero() && until.Before(since) {
		return since, until, fault.Errorf(errdefs.ErrInvalidArgument, "`since` time (%s) cannot be after `until` time (%s)",
			req.Form.Get("since"), req.Form.Get("until"))
	}
	return since, until, nil
}

// timestamp reads seconds, and nanoseconds behind a point.
func timestamp(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: invalid seconds %q: %w", s, whole, errors.Unwrap(err))
	}
	if len(fraction) > 20 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: invalid nanoseconds: %q", s, fraction)
	}
	nsec, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(sec, nsec), err
}

type eventWriter struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	separator []byte
	// old tells status, id and from; hideCreate hides that images were made.
	old, hideCreate bool
}

// write writes some events, and sends them.
func (e eventWriter) write(list []*events.Event) error {
	for _, ev := range list {
		if e.hideCreate && ev.Message.Type == api.ImageEventType && ev.Message.Action == api.ActionCreate {
			continue
		}
		line := ev.JSON()
		if e.old {
			line = ev.OldJSON()
		}
		if len(e.separator) > 0 {
			if _, err := e.w.Write(e.separator); err != nil {
				return err
			}
		}
		if _, err := e.w.Write(line); err != nil {
			return err
		}
	}
	return e.rc.Flush()
}
