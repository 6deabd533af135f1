package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Remove unmounts what is mounted below the bundle and removes both directories. It can be repeated.
func (b *Bundle) Remove(context.Context) error {
	work := *b
	work.followWork()
	if err := discard(b.Path); err != nil {
		return err
	}
	if err := discard(work.Work); err != nil {
		return err
	}
	if work.Work == b.Work {
		return nil
	}
	return discard(b.Work)
}

// discard takes the directory its name first: who kills this process leaves no half of it under that name.
func discard(dir string) error {
	if err := unmount(dir); err != nil {
		return err
	}
	hidden := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir))
	err := os.Rename(dir, hidden)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) { // one who did so was killed
		if err = erase(hidden); err == nil {
			err = os.Rename(dir, hidden)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return erase(hidden) // which may be an earlier one's
}

// erase unmounts and removes; nothing there is no error.
func erase(dir string) error {
	if err := unmount(dir); err != nil {
		return err
	}
	// The mount point goes by itself first: were it one still, all that is mounted there would go with it.
	err := os.Remove(filepath.Join(dir, rootfsName))
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("is it still a mount point? %w", err)
	}
	return os.RemoveAll(dir)
}
