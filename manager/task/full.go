package task

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// full gives errors of a full state directory the type that clients see as such, and leaves others as they are.
func full(err error) error {
	if !noSpace(err) || errdefs.IsResourceExhausted(err) {
		return err
	}
	return fmt.Errorf("%v: %w", err, errdefs.ErrResourceExhausted) //nolint:errorlint // clients see two as two lines
}
