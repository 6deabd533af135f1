package containers

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/fault"
)

// Exit codes of containers that did not start, as shells and Docker have them.
const (
	codeCannotInvoke = 126
	codeNotFound     = 127
	codeUnknown      = 128
	// codeLost is for containers whose end nobody saw.
	codeLost = 255
)

func notRunning(id string) error {
	return fault.Errorf(errdefs.ErrConflict, "container %s is not running", id)
}

// startFault is what a client reads of a start that the runtime refused, and the exit code that the container gets.
// Clients make their own exit code of the words.
func startFault(err error) (int, error) {
	text := err.Error()
	invalid := func(code int, text string) (int, error) {
		return code, fault.As(errdefs.ErrInvalidArgument, errors.New(text))
	}
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, syscall.EACCES.Error()):
		return invalid(codeCannotInvoke, text)
	case strings.Contains(lower, syscall.EISDIR.Error()):
		return invalid(codeCannotInvoke, text+": "+syscall.EACCES.Error())
	case strings.Contains(lower, syscall.ENOTDIR.Error()):
		return invalid(codeNotFound, text+": Are you trying to mount a directory onto a file (or vice-versa)? "+
			"Check if the specified host path exists and is the expected type")
	}
	for _, words := range []string{"executable file not found", "no such file or directory", "failed to run runc create/exec call"} {
		if strings.Contains(lower, words) {
			return invalid(codeNotFound, text)
		}
	}
	return codeUnknown, fault.As(errdefs.ErrUnknown, errors.New(text))
}

// wrap puts words in front of an error and keeps its class.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf(format+": %w", append(args, err)...)
	if class := fault.Class(err); class != nil {
		return fault.As(class, wrapped)
	}
	return wrapped
}

// bare is a name without the slash that clients put in front.
func bare(name string) string { return strings.TrimPrefix(name, "/") }
