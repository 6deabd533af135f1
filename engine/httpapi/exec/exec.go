package exec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/exec"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Execs are the further processes of containers.
type Execs interface {
	Create(ref string, req api.ExecCreateRequest) (id string, err error)
	Exists(id string) error
	Start(ctx context.Context, id string, o exec.Start) (session func(), err error)
	Inspect(id string) (*api.ExecInspectResponse, error)
	Resize(ctx context.Context, id string, width, height uint32) error
}

// Router serves execs.
type Router struct{ execs Execs }

// New is a router over execs.
func New(e Execs) *Router { return &Router{e} }

// Routes implements httpapi.Router.
func (r *Router) Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodPost, Path: "/containers/{name:.*}/exec", Handle: r.create},
		{Method: http.MethodPost, Path: "/exec/{name:.*}/start", Handle: r.start},
		{Method: http.MethodPost, Path: "/exec/{name:.*}/resize", Handle: r.resize},
		{Method: http.MethodGet, Path: "/exec/{id:.*}/json", Handle: r.inspect},
	}
}

func (r *Router) create(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var body api.ExecCreateRequest
	if err := httpapi.ReadJSON(req, &body); err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.42") {
		body.ConsoleSize = nil
	}
	id, err := r.execs.Create(vars["name"], body)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, api.ExecCreateResponse{ID: id})
}

func (r *Router) start(ctx context.Context, w http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var body api.ExecStartRequest
	if err := httpapi.ReadJSON(req, &body); err != nil {
		return err
	}
	if err := r.execs.Exists(vars["name"]); err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.42") || !body.Tty {
		body.ConsoleSize = nil
	}
	o := exec.Start{Mux: !body.Tty, ConsoleSize: body.ConsoleSize}
	if body.Detach {
		_, err := r.execs.Start(ctx, vars["name"], o)
		return err
	}
	contentType := types.MediaTypeRawStream
	if o.Mux && !httpapi.Before(ctx, "1.42") && req.Header.Get("Upgrade") != "" {
		contentType = types.MediaTypeMultiplexedStream
	}
	h, err := httpapi.Hijack(w, req, contentType)
	if err != nil {
		return err
	}
	// The connection will be the keeper's. An error must still reach the client.
	spare, closeSpare := duplicate(h.Conn)
	o.Conn, o.Early = h.Conn, h.Early
	o.Failed = func(err error) { tell(spare, err, o.Mux) }
	session, err := r.execs.Start(ctx, vars["name"], o)
	closeSpare()
	if err != nil {
		slog.Error("exec failed", "exec", vars["name"], "error", err) // The answer has begun: it was told in the stream.
		return nil
	}
	session()
	return nil
}

// duplicate is another descriptor of a connection, which is closed by itself. A connection that is no socket of its own
// (TLS) is what it is.
func duplicate(conn net.Conn) (io.Writer, func()) {
	f, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return conn, func() {}
	}
	file, err := f.File()
	if err != nil {
		return io.Discard, func() {}
	}
	return file, func() { file.Close() }
}

// tell writes an error where the client reads output.
func tell(w io.Writer, err error, mux bool) {
	text := fmt.Sprintf("%v\r\n", err)
	if mux {
		const stdout = 1
		head := [8]byte{stdout}
		binary.BigEndian.PutUint32(head[4:], uint32(len(text))) //nolint:gosec // a text of an error
		text = string(head[:]) + text
	}
	_, _ = io.WriteString(w, text) // A client that has gone needs no answer.
}

func (r *Router) inspect(_ context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	in, err := r.execs.Inspect(vars["id"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, in)
}

func (r *Router) resize(ctx context.Context, _ http.ResponseWriter, req *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(req); err != nil {
		return err
	}
	var size [2]uint32
	for i, p := range [2]struct{ key, name string }{{"h", "height"}, {"w", "width"}} {
		n, err := number(req.Form.Get(p.key))
		if err != nil {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid resize %s %q: %w", p.name, req.Form.Get(p.key), err)
		}
		size[i] = n
	}
	return r.execs.Resize(ctx, vars["name"], size[1], size[0])
}

// number reads a number that must be there. Its errors are those of strconv, without the words around them.
func number(text string) (uint32, error) {
	digits, negative := strings.CutPrefix(text, "-")
	if digits == "" || digits[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	if negative {
		return 0, strconv.ErrRange
	}
	return uint32(n), nil
}
