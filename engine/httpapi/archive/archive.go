package archive

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/archive"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/httpapi"
)

// Service packs and unpacks paths of containers.
type Service interface {
	Stat(ctx context.Context, ref, path string) (*api.PathStat, error)
	Get(ctx context.Context, ref, path string) (io.ReadCloser, *api.PathStat, error)
	Put(ctx context.Context, ref string, p archive.Put, body io.Reader) error
	Export(ctx context.Context, ref string, w io.Writer) error
	Changes(ctx context.Context, ref string) ([]api.FilesystemChange, error)
}

// New is the routes of a service.
func New(s Service) httpapi.Router {
	h := handlers{s}
	const path = "/containers/{name:.*}"
	return httpapi.Routes{
		{Method: http.MethodHead, Path: path + "/archive", Handle: h.head},
		{Method: http.MethodGet, Path: path + "/archive", Handle: h.get},
		{Method: http.MethodPut, Path: path + "/archive", Handle: h.put},
		{Method: http.MethodGet, Path: path + "/export", Handle: h.export},
		{Method: http.MethodGet, Path: path + "/changes", Handle: h.changes},
	}
}

type handlers struct{ Service }

// target reads what all archive requests name.
func target(r *http.Request, vars map[string]string) (name, path string, err error) {
	if err := httpapi.ParseForm(r); err != nil {
		return "", "", err
	}
	name, path = vars["name"], r.Form.Get("path")
	if name == "" {
		return "", "", fault.Errorf(errdefs.ErrInvalidArgument, "bad parameter: name cannot be empty")
	}
	if path == "" {
		return "", "", fault.Errorf(errdefs.ErrInvalidArgument, "bad parameter: path cannot be empty")
	}
	return name, path, nil
}

// setStat tells clients about the path before any of its content.
func setStat(w http.ResponseWriter, stat *api.PathStat) error {
	b, err := json.Marshal(stat)
	if err != nil {
		return err
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return nil
}

func (h handlers) head(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	name, path, err := target(r, vars)
	if err != nil {
		return err
	}
	stat, err := h.Stat(ctx, name, path)
	if err != nil {
		return err
	}
	return setStat(w, stat)
}

func (h handlers) get(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	name, path, err := target(r, vars)
	if err != nil {
		return err
	}
	content, stat, err := h.Get(ctx, name, path)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := setStat(w, stat); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return send(w, r, content)
}

// send writes a body in the encoding that the client likes best.
func send(w http.ResponseWriter, r *http.Request, body io.Reader) error {
	encoding := negotiate(r.Header.Values("Accept-Encoding"))
	var out io.WriteCloser
	switch encoding {
	case "gzip":
		out = gzip.NewWriter(w)
	case "deflate":
		f, err := flate.NewWriter(w, flate.DefaultCompression)
		if err != nil {
			return err
		}
		out = f
	default:
		_, err := io.Copy(w, body)
		return err
	}
	w.Header().Set("Content-Encoding", encoding)
	if _, err := io.Copy(out, body); err != nil {
		return err
	}
	return out.Close()
}

func (h handlers) put(ctx context.Context, _ http.ResponseWriter, r *http.Request, vars map[string]string) error {
	name, path, err := target(r, vars)
	if err != nil {
		return err
	}
	return h.Put(ctx, name, archive.Put{
		Path:     path,
		KeepKind: httpapi.BoolOr(r, "noOverwriteDirNonDir", false),
		Own:      httpapi.Bool(r, "copyUIDGID"),
	}, r.Body)
}

func (h handlers) export(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	return h.Export(ctx, vars["name"], w)
}

func (h handlers) changes(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	changes, err := h.Changes(ctx, vars["name"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, changes)
}
