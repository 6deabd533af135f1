package libcontainer

import "github.com/gantry-containers/gantry/libcontainer/launch"

// ErrNoExeSwap is what Create, Run, Exec and Start answer, having done nothing, when a
// container could reach the runtime's binary: run the command again from SealedCopy.
var ErrNoExeSwap = launch.ErrNoExeSwap

// ErrCgo is what they answer in a program that is linked with cgo.
var ErrCgo = launch.ErrCgo

// SealedCopy returns a memfd with this program's binary that nobody can change any more.
// The descriptor is the caller's, close-on-exec.
func SealedCopy() (fd int, err error) { return launch.SealedCopy() }
