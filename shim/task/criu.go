package task

import (
	"io"
	"os"
	"path/filepath"
)

// checkpointWork is CRIU's directory for its logs: the one that is asked for, or one that is removed afterwards.
func (c *container) checkpointWork(asked string) (work string, clean func(), err error) {
	if asked != "" {
		return asked, func() {}, nil
	}
	work = filepath.Join(c.bundle.Path(), "criu-work")
	return work, func() { _ = os.RemoveAll(work) }, os.MkdirAll(work, 0o700)
}

// keepDumpLog saves CRIU's log of a failed dump beside the bundle's other files and returns where it is.
func (c *container) keepDumpLog(work string) string {
	kept := filepath.Join(c.bundle.Path(), "criu-dump.log")
	from, err := os.Open(filepath.Join(work, "dump.log"))
	if err != nil {
		return "CRIU has left no log"
	}
	defer from.Close()
	to, err := os.OpenFile(kept, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "CRIU's log is lost: " + err.Error()
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return "CRIU's log is lost: " + err.Error()
	}
	return "CRIU's log: " + kept
}
