package task

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// operationLimit is how long the runtime may take for anything but Create: hooks may run in it.
const operationLimit = 2 * time.Minute

// operation is the context of an operation that must not be left half-done because its caller has gone, such as a
// daemon that is being replaced. The caller's time limit counts.
func operation(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(operationLimit)
	if limit, ok := ctx.Deadline(); ok && limit.Before(end) {
		end = limit
	}
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

// runtimeError says which of the runtime's operations failed, in containerd's words, and finds the error's class.
func runtimeError(what string, err error) error {
	class := ttrpc.Unknown
	switch {
	case errors.Is(err, oci.ErrNoAnswer):
		class = ttrpc.DeadlineExceeded
	case errors.Is(err, oci.ErrNoRuntime):
		class = ttrpc.InvalidArgument
	case errors.Is(err, context.Canceled):
		class = ttrpc.Canceled
	}
	return ttrpc.Errorf(class, "%s: %w", what, err)
}
