// Package names says what may be the name of something that is kept: any text that is not empty and that the metadata
// database can have as a key. The stores answer most else with an error that has no type.
package names

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Max is the length, in bytes, of the longest name. bbolt's keys end at 32 KiB, and some have a prefix.
const Max = 32<<10 - 256

// Check refuses a name that cannot be kept, with errdefs.ErrInvalidArgument. what is the word for it in the error.
func Check(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s required: %w", what, errdefs.ErrInvalidArgument)
	}
	if len(name) > Max {
		return fmt.Errorf("%s of %d bytes is longer than %d: %w", what, len(name), Max, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Keys refuses labels or extensions of which a key cannot be kept, with errdefs.ErrInvalidArgument. How much they may
// have in all is for the stores to say, which do.
func Keys[V any](what string, values map[string]V) error {
	for key := range values {
		if err := Check(what+" key", key); err != nil {
			return err
		}
	}
	return nil
}
