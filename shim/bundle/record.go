package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Exit is how the container's first process ended.
type Exit struct {
	Pid      int       `json:"pid"`
	Status   uint32    `json:"status"` // the exit code, or 128 and the signal's number
	ExitedAt time.Time `json:"exited_at"`
}

// SetExit records the exit before anybody is told of it: whoever asks after the shim's death gets the truth.
func (b *Bundle) SetExit(e Exit) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return b.write("exit", text)
}

// Exit reads the record; the error is fs.ErrNotExist where the process has not ended under the shim's eyes.
func (b *Bundle) Exit() (Exit, error) {
	var e Exit
	file := b.file("exit")
	text, err := os.ReadFile(file)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// Phase says whether the OCI runtime may know the container.
type Phase string

// The phases, in order.
const (
	Fresh   Phase = ""        // nothing has been made
	Created Phase = "created" // set before the rootfs is mounted and the runtime is called to create
	Deleted Phase = "deleted" // the runtime has deleted the container, and the rootfs is unmounted
)

// SetPhase records the phase.
func (b *Bundle) SetPhase(p Phase) error { return b.write("phase", []byte(p)) }

// Phase reads the record; what cannot be read counts as Created: then there may be something to delete.
func (b *Bundle) Phase() Phase {
	text, err := os.ReadFile(b.file("phase"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fresh
	case err == nil && Phase(text) == Deleted:
		return Deleted
	}
	return Created
}
