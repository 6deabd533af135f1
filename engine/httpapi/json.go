package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// maxJSON is how long a body may be that is read into memory, in bytes: no honest request comes near it.
const maxJSON = 16 << 20

// ReadJSON reads the body of a request into a value. No body is no error, and leaves the value as it is.
func ReadJSON(r *http.Request, v any) error {
	if err := isJSON(r); err != nil {
		return err
	}
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	defer r.Body.Close()
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxJSON))
	if err := dec.Decode(v); err != nil {
		if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: the request body is longer than %d bytes", tooLong.Limit)
		}
		if errors.Is(err, io.EOF) {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: got %w while reading request body", io.EOF)
		}
		return fault.Errorf(errdefs.ErrInvalidArgument, "invalid JSON: %w", err)
	}
	if dec.More() {
		return fault.Errorf(errdefs.ErrInvalidArgument, "unexpected content after JSON")
	}
	return nil
}

// isJSON says no to a body that is declared as something else.
func isJSON(r *http.Request) error {
	declared := r.Header.Get("Content-Type")
	if declared == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	kind, _, err := mime.ParseMediaType(declared)
	if err != nil {
		return fault.Errorf(errdefs.ErrInvalidArgument, "malformed Content-Type header (%s): %w", declared, err)
	}
	if kind != "application/json" {
		return fault.Errorf(errdefs.ErrInvalidArgument, "unsupported Content-Type header (%s): must be 'application/json'", declared)
	}
	return nil
}
