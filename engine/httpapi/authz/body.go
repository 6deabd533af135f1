package authz

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// maxBody is how long a body may be that plugins are given, in bytes.
const maxBody = 4 << 20

// takeBody is the body of a request as plugins see it. The handler reads these bytes and no others: a length that the
// client declares means nothing any more.
func takeBody(r *http.Request) ([]byte, error) {
	if len(r.Header.Values("Content-Type")) > 1 {
		return nil, fault.Errorf(errdefs.ErrInvalidArgument, "malformed Content-Type header: there are several")
	}
	if r.Body == nil || !visible(r.Header) {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("request body too large for authorization plugin: size exceeds %d bytes", maxBody)
	}
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	return body, nil
}

// visible says that handlers read orders from a body of this kind: JSON, and forms, which net/http takes for part of the
// query. All else is a stream of files.
func visible(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (isJSON(kind) || kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data")
}

func isJSON(kind string) bool { return kind == "application/json" }
