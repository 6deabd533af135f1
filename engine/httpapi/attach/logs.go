package attach

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
	"github.com/gantry-containers/gantry/engine/logs"
)

var errNoReading = fault.Errorf(errdefs.ErrNotImplemented, "configured logging driver does not support reading")

func (s *Routes) logs(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	v, q, err := queryOf(r)
	if err != nil {
		return err
	}
	asJSON, err := jsonFormat(ctx, r)
	if err != nil {
		return err
	}
	c, err := s.Containers.Get(vars["name"])
	if err != nil {
		return err
	}
	if c.State.RemovalInProgress || c.State.Status == container.Dead {
		return fault.Errorf(errdefs.ErrConflict, "can not get logs from container which is dead or marked for removal")
	}
	driver := c.HostConfig.LogConfig.Type
	if driver == logs.None {
		return errNoReading
	}
	if q.Follow = httpapi.Bool(r, "follow") && c.State.Running(); q.Follow {
		following, stop := context.WithCancel(ctx)
		defer stop()
		q.Ended = s.ended(following, c)
	}
	stream := httpapi.NewStream(w)
	buffer := bufio.NewWriterSize(stream, bufferSize)
	q.Idle = buffer.Flush
	// Before the answer begins: the client may remove the container as soon as it has that, and reads on.
	log, err := logs.NewReader(driver, logs.Path(driver, s.Containers.Dir(c.ID), c.ID), q)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	if _, err := s.Containers.Get(c.ID); err != nil {
		return err // It was removed before the log was open.
	}
	var out sink
	if asJSON != "" {
		w.Header().Set("Content-Type", asJSON)
		out = newJSONLines(buffer, asJSON == types.MediaTypeJSONSequence, v)
	} else {
		kind := types.MediaTypeRawStream
		if !c.Config.Tty && !httpapi.Before(ctx, "1.42") {
			kind = types.MediaTypeMultiplexedStream
		}
		w.Header().Set("Content-Type", kind)
		out = newLines(buffer, !c.Config.Tty, v)
	}
	stream.Start()
	err = log.Read(ctx, out.write)
	if err != nil && ctx.Err() == nil {
		out.tell(fmt.Sprintf("Error grabbing logs: %v\n", err))
	}
	_ = buffer.Flush() // The client has gone, or has it all.
	return nil
}

// ended is closed when the run of a container has ended: then its output is drained, and nothing more is written.
func (s *Routes) ended(ctx context.Context, c *container.Container) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			changed := s.Containers.Changed(c.ID)
			now, err := s.Containers.Get(c.ID)
			if err != nil || !now.State.Running() || !now.State.StartedAt.Equal(c.State.StartedAt) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

// queryOf reads what is wanted of a log.
func queryOf(r *http.Request) (v view, q logs.Query, err error) {
	v = view{
		stdout: httpapi.Bool(r, "stdout"), stderr: httpapi.Bool(r, "stderr"),
		times: httpapi.Bool(r, "timestamps"), details: httpapi.Bool(r, "details"),
	}
	if !v.stdout && !v.stderr {
		return v, q, fault.Errorf(errdefs.ErrInvalidArgument, "must specify at least one of 'stdout' or 'stderr'")
	}
	if since := r.Form.Get("since"); since != "" {
		if q.Since, err = parseTime(since); err != nil {
			return v, q, fault.Errorf(errdefs.ErrInvalidArgument, `invalid value for "since": %w`, err)
		}
	}
	if until := r.Form.Get("until"); until != "" && until != "0" {
		if q.Until, err = parseTime(until); err != nil {
			return v, q, fault.Errorf(errdefs.ErrInvalidArgument, `invalid value for "until": %w`, err)
		}
	}
	n, err := strconv.Atoi(r.Form.Get("tail"))
	if err != nil {
		n = -1 // "all", and whatever else.
	}
	q.Tail = n
	return v, q, nil
}

// jsonFormat is the media type of an answer in JSON; empty when none is asked for.
func jsonFormat(ctx context.Context, r *http.Request) (string, error) {
	if httpapi.Before(ctx, "1.54") {
		return "", nil
	}
	format := r.Form.Get("format")
	if format != "" && format != "json" {
		return "", fault.Errorf(errdefs.ErrInvalidArgument, "unsupported log format")
	}
	for _, accept := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(accept, ",") {
			kind, _, _ = strings.Cut(strings.TrimSpace(kind), ";")
			switch kind {
			case types.MediaTypeJSONLines, types.MediaTypeNDJSON, types.MediaTypeJSONSequence:
				return kind, nil
			}
		}
	}
	if format == "json" {
		return types.MediaTypeNDJSON, nil
	}
	return "", nil
}

// parseTime reads seconds since 1970, with a fraction of up to nine digits that count.
func parseTime(value string) (time.Time, error) {
	t, err := parseSeconds(value)
	if err != nil {
		return t, fmt.Errorf("invalid timestamp %q: %w", value, err)
	}
	return t, nil
}

func parseSeconds(value string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		if numeric, ok := err.(*strconv.NumError); ok { //nolint:errorlint // ParseInt answers with nothing else
			err = numeric.Err
		}
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, err)
	}
	const most = 20
	if len(fraction) > most {
		return time.Time{}, fmt.Errorf("invalid nanoseconds: length %d exceeds maximum %d", len(fraction), most)
	}
	nanos := int64(0)
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	for i := range len(fraction) {
		if c := fraction[i]; c < '0' || c > '9' {
			return time.Time{}, fmt.Errorf("invalid nanoseconds: invalid character %q at position %d", c, i)
		}
	}
	return time.Unix(seconds, nanos).UTC(), nil
}
