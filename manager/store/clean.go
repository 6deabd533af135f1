package store

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// cleanMark is the name of a file beside the metadata database that is there while the manager is stopped, and was
// stopped in order: then nothing needs to be looked for at the start.
const cleanMark = "gantry-clean"

// takeCleanMark removes the mark, for good, and says whether it was there.
func takeCleanMark(dir string) (bool, error) {
	err := os.Remove(filepath.Join(dir, cleanMark))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, syncDir(dir)
}

// leaveCleanMark makes it. Without it the next start takes longer.
func leaveCleanMark(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, cleanMark), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		slog.Warn("the next start will look for leftovers", "error", err)
		return
	}
	f.Close()
}
