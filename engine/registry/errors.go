package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"github.com/gantry-containers/gantry/engine/fault"
)

// explain says in the words that clients know why a pull failed.
func (p *pull) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, docker.ErrInvalidAuthorization):
		if strings.Contains(err.Error(), "no basic auth credentials") {
			return err
		}
		return fault.Errorf(errdefs.ErrNotFound, "pull access denied for %s, repository does not exist or may require 'docker login'",
			reference.FamiliarName(p.ref))
	case errdefs.IsNotFound(err) && strings.Contains(err.Error(), "platform"):
		return fault.Errorf(errdefs.ErrNotFound, "no matching manifest for %s in the manifest list entries: %w", platforms.FormatAll(p.platform), err)
	}
	return registryError(err)
}

// registryError gives what a registry answered its class, and its words without the rest of the request.
func registryError(err error) error {
	told, ok := answered(err)
	if !ok {
		return err
	}
	if len(told) == 0 {
		return refused(err)
	}
	all := make([]error, 0, len(told))
	for _, e := range told {
		all = append(all, one(e))
	}
	joined := all[0]
	if len(all) > 1 {
		joined = errors.Join(all...)
	}
	class := fault.Class(all[0])
	if class == nil {
		class = errdefs.ErrUnknown
	}
	return fault.Errorf(class, "error from registry: %w", joined)
}

// answered are the errors that a registry listed; false when it did not answer at all.
func answered(err error) (docker.Errors, bool) {
	var list docker.Errors
	if errors.As(err, &list) {
		return list, true
	}
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		// What cannot be read is an answer, too: a page for people, mostly.
		_ = json.Unmarshal(status.Body, &list)
		return list, true
	}
	if single, ok := errors.AsType[docker.Error](err); ok {
		return docker.Errors{single}, true
	}
	return nil, false
}

// refused is an answer without a list of errors. Some servers of tokens say "details" instead.
func refused(err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return err
	}
	var old struct {
		Details string `json:"details"`
	}
	if json.Unmarshal(status.Body, &old) != nil {
		return fault.Errorf(errdefs.ErrUnknown, "%w: %w", errdefs.ErrUnknown, err)
	}
	switch {
	case old.Details == "":
	case status.StatusCode == http.StatusUnauthorized:
		return fault.Errorf(errdefs.ErrUnauthenticated, "%s - %s", docker.ErrorCodeUnauthorized.Message(), old.Details)
	case status.StatusCode == http.StatusForbidden:
		return fault.Errorf(errdefs.ErrPermissionDenied, "%s - %s", docker.ErrorCodeDenied.Message(), old.Details)
	}
	return fault.Errorf(errdefs.ErrUnknown, "error from registry: %w", err)
}

// one is one of a registry's errors.
func one(err error) error {
	var e docker.Error
	if !errors.As(err, &e) {
		var code docker.ErrorCode
		if !errors.As(err, &code) {
			return fault.Errorf(errdefs.ErrUnknown, "%s", err.Error())
		}
		e = docker.Error{Code: code}
	}
	message := e.Message
	if message == "" {
		message = e.Code.Message()
	}
	if detail, ok := e.Detail.(string); ok {
		message = fmt.Sprintf("%s - %s", message, detail)
	}
	return fault.Errorf(class(e.Code), "%s", message)
}

func class(code docker.ErrorCode) error {
	switch code {
	case docker.ErrorCodeUnsupported:
		return errdefs.ErrNotImplemented
	case docker.ErrorCodeUnauthorized:
		return errdefs.ErrUnauthenticated
	case docker.ErrorCodeDenied:
		return errdefs.ErrPermissionDenied
	case docker.ErrorCodeUnavailable:
		return errdefs.ErrUnavailable
	case docker.ErrorCodeTooManyRequests:
		return errdefs.ErrResourceExhausted
	}
	return errdefs.ErrUnknown
}
