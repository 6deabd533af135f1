package httpapi

import (
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Status is the HTTP status of an error: the outermost class decides.
func Status(err error) int {
	if class := fault.Class(err); class != nil {
		err = class
	} else if _, ok := status.FromError(err); ok {
		err = errgrpc.ToNative(err)
	}
	err = errdefs.Resolve(err)
	switch {
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsInvalidArgument(err), errdefs.IsOutOfRange(err), errdefs.IsFailedPrecondition(err):
		return http.StatusBadRequest
	case errdefs.IsConflict(err), errdefs.IsAlreadyExists(err):
		return http.StatusConflict
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsUnavailable(err):
		return http.StatusServiceUnavailable
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotModified(err):
		return http.StatusNotModified
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// writeError answers with an error, unless something was written before. It returns the status that the error stands
// for. A request whose context has ended is answered, too: its client may be there still, as the engine's own end ends
// requests, and would take silence for success. Clients of versions that nobody serves any more expect plain text.
func writeError(w *response, version string, err error) int {
	code := Status(err)
	switch {
	case w.started, w.hijacked:
	case code == http.StatusNotModified:
		w.WriteHeader(code)
	case version != "" && compare(version, MinVersion) < 0:
		http.Error(w, err.Error(), code)
	default:
		_ = WriteJSON(w, code, map[string]string{"message": err.Error()})
	}
	return code
}
