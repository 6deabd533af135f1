package state

import "golang.org/x/sys/unix"

// What a caller may branch on, with errors.Is. Clients match the texts of the first three
// (docs/decisions/0008): they must stay.
var (
	// ErrInvalidID is what CheckID wraps.
	ErrInvalidID error = constError("invalid container ID format")
	// ErrExist also matches EEXIST.
	ErrExist error = &sentinel{"container with given ID already exists", unix.EEXIST}
	// ErrNotExist also matches ENOENT.
	ErrNotExist error = &sentinel{"container does not exist", unix.ENOENT}
	// ErrBusy tells that another command holds the container's lock; it also matches EWOULDBLOCK.
	ErrBusy error = &sentinel{"another command is changing the container", unix.EWOULDBLOCK}
	// ErrIncomplete tells that the directory has no state.json: its container is being
	// created or removed at this moment, or the command that did so was killed. Whoever
	// holds the lock knows that it is the latter.
	ErrIncomplete error = constError("container has no state: its creation or removal did not finish")
	// ErrNewer tells that a newer runtime wrote state.json.
	ErrNewer error = constError("written by a newer version of the runtime")
)

// constError is an error that needs no work at program start.
type constError string

func (e constError) Error() string { return string(e) }

// sentinel is an error with a fixed text that belongs to an errno.
type sentinel struct {
	text  string
	errno unix.Errno
}

func (e *sentinel) Error() string { return e.text }

// Unwrap gives the errno.
func (e *sentinel) Unwrap() error { return e.errno }

// DamagedError tells that a file of the container can't be used as it is.
type DamagedError struct {
	Path string // the file
	Err  error  // why; ErrNewer when it is not damaged but from the future
}

// Error names the file, then the reason.
func (e *DamagedError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *DamagedError) Unwrap() error { return e.Err }
