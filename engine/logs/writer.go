package logs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// readerAt is what repair needs of a file.
type readerAt = io.ReaderAt

// fileMode of logs: the group may read, as dockerd has it.
const fileMode = 0o640

// Writer appends entries to a log file and rotates it. It may be used by several goroutines.
type Writer struct {
	path  string
	codec codec
	limit Rotation

	mu   sync.Mutex
	f    *os.File
	size int64
	last time.Time
	buf  []byte
	// compressing is held while a rotated file is being compressed: the next rotation waits for it.
	compressing sync.WaitGroup
}

// Open opens the log file of a driver for more, or makes it. What a crash left torn at its end is completed or cut off.
func Open(driver, path string, limit Rotation, attrs map[string]string) (*Writer, error) {
	c, err := newCodec(driver, attrs)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, codec: c, limit: limit}
	if driver == Local {
		// dockerd keeps these in a folder of their own.
		if err := os.MkdirAll(filepath.Dir(path), 0o710); err != nil {
			return nil, err
		}
	}
	if err := w.open(os.O_CREATE); err != nil {
		return nil, err
	}
	if err := w.repair(); err != nil {
		return nil, errors.Join(err, w.f.Close())
	}
	w.finishCompression()
	return w, nil
}

func (w *Writer) open(flags int) error {
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_APPEND|flags, fileMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.f, w.size = f, info.Size()
	return nil
}

func (w *Writer) repair() error {
	keep, add, err := w.codec.repair(w.f, w.size)
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	if keep < w.size {
		if err := w.f.Truncate(keep); err != nil {
			return err
		}
		w.size = keep
	}
	if len(add) == 0 {
		return nil
	}
	n, err := w.f.Write(add)
	w.size += int64(n)
	return err
}

// Write appends entries with as few system calls as rotation allows: one, mostly. When it returns, they are the
// kernel's: the death of this process does not lose them.
func (w *Writer) Write(entries []Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return fs.ErrClosed
	}
	buf := w.buf[:0]
	for i := range entries {
		if w.limit.Size > 0 && w.size+int64(len(buf)) >= w.limit.Size {
			if err := w.flush(buf); err != nil {
				return err
			}
			buf = buf[:0]
			if err := w.rotate(); err != nil {
				return fmt.Errorf("error rotating log file: %w", err)
			}
		}
		buf = w.codec.appendEntry(buf, &entries[i])
		w.last = entries[i].Time
	}
	err := w.flush(buf)
	if cap(buf) <= maxKept {
		w.buf = buf
	}
	return err
}

// maxKept is how large a buffer may be to be kept for the next write: thousands of quiet containers have one each.
const maxKept = 4 << 10

func (w *Writer) flush(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.f.Write(b)
	if err != nil && n > 0 {
		// A part of an entry (the disk is full) would make garbage of the next one.
		if cut := w.f.Truncate(w.size); cut == nil {
			n = 0
		}
	}
	w.size += int64(n)
	return err
}

// Close ends writing. It waits for a compression that goes on.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compressing.Wait()
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}
