package launch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Start lets a waiting child go on to the user's program. socket is connected to the one
// that AwaitStart listens on. The child's end of it closes when the program is executed;
// a failure is reported on it before that, and args, the program's, are named in the error.
func Start(socket int, args []string) error {
	if _, err := unix.Write(socket, []byte{'g'}); err != nil {
		return fmt.Errorf("%w: start: %w", ErrVanished, err)
	}
	var msg [8]byte
	for {
		n, err := unix.Read(socket, msg[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // ECONNRESET: it died before it read the word to go
			return fmt.Errorf("%w: start: %w", ErrVanished, err)
		case n == 0:
			return nil
		case n == len(msg):
			var cause error = unix.Errno(binary.NativeEndian.Uint32(msg[4:]))
			if cause == unix.Errno(0) {
				cause = ErrShort
			}
			return lateError(binary.NativeEndian.Uint32(msg[:]), &plan.Execute{Args: args}, cause)
		}
		return ErrVanished
	}
}
