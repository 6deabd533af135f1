package exec

import (
	"errors"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Exit codes of what never ran, as shells have them.
const (
	cannotRun  = 126
	noCommand  = 127
	otherFault = 128
)

var errNotReady = errors.New("timeout waiting for exec session ready")

// Failure is the exit code of a process that a runtime could not start, and the error that clients know for it. They
// read the words.
func Failure(err error) (code int, told error) {
	if fault.Class(err) != nil { // Said no before the runtime was asked.
		return cannotRun, err
	}
	text := err.Error()
	has := func(words string) bool { return strings.Contains(strings.ToLower(text), words) }
	switch {
	case has(syscall.EACCES.Error()):
		return cannotRun, fault.Errorf(errdefs.ErrInvalidArgument, "%s", text)
	case has(syscall.EISDIR.Error()):
		// The CLI looks for the words of EACCES.
		return cannotRun, fault.Errorf(errdefs.ErrInvalidArgument, "%s: %w", text, syscall.EACCES)
	case has(syscall.ENOTDIR.Error()):
		return noCommand, fault.Errorf(errdefs.ErrInvalidArgument, "%s: Are you trying to mount a directory onto a file (or "+
			"vice-versa)? Check if the specified host path exists and is the expected type", text)
	case has("executable file not found"), has("no such file or directory"), has("failed to run runc create/exec call"):
		return noCommand, fault.Errorf(errdefs.ErrInvalidArgument, "%s", text)
	}
	return otherFault, fault.Errorf(errdefs.ErrUnknown, "%s", text)
}
