package logs

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Rotation says how much of a log is kept.
type Rotation struct {
	// Size in bytes at which a file is full; zero or less for no end.
	Size int64
	// Files is how many there are, the current one among them.
	Files int
	// Compress says that all but the current one are compressed.
	Compress bool
}

// footnote is what a compressed file says about itself in its header. LastTime is dockerd's; File is what the file was
// before, by which who follows finds where it was.
type footnote struct {
	LastTime time.Time `json:"lastTime"`
	File     identity  `json:"file,omitzero"`
}

// identity tells a file from all others, whatever it is called. Numbers of inodes alone are used again at once.
type identity struct {
	Inode uint64 `json:"inode"`
	Born  int64  `json:"born"` // nanoseconds; 0 where the file system does not know
}

// identify looks at an open file.
func identify(f *os.File) (id identity, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return id, err
	}
	var e error
	err = raw.Control(func(fd uintptr) { id, e = statIdentity(int(fd), "", unix.AT_EMPTY_PATH) })
	return id, errors.Join(err, e)
}

func statIdentity(dir int, path string, flags int) (identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return identity{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return identity{st.Ino, st.Btime.Sec*1e9 + int64(st.Btime.Nsec)}, nil
}

// rotated is the path of an older file: 1 is the youngest of them.
func rotated(path string, n int) string { return fmt.Sprintf("%s.%d", path, n) }

// rotate begins a new file. Older files move up from the oldest to the youngest, so that a reader who opens them from
// the youngest to the oldest meanwhile sees none too few.
func (w *Writer) rotate() error {
	w.compressing.Wait()
	if w.limit.Files > 1 {
		oldest := rotated(w.path, w.limit.Files-1)
		os.Remove(oldest)
		os.Remove(oldest + ".gz")
	}
	for n := w.limit.Files - 1; n >= 1; n-- {
		from := w.path
		if n > 1 {
			from = rotated(w.path, n-1)
			if err := rename(from+".gz", rotated(w.path, n)+".gz"); err != nil {
				return err
			}
		}
		if err := rename(from, rotated(w.path, n)); err != nil {
			return err
		}
	}
	if w.limit.Files <= 1 {
		if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	old := w.f
	if err := w.open(os.O_CREATE | os.O_EXCL); err != nil {
		return err
	}
	old.Close()
	if w.limit.Compress && w.limit.Files > 1 {
		last := w.last
		w.compressing.Go(func() { compressOrTell(rotated(w.path, 1), last) })
	}
	return nil
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// finishCompression goes on where a process was ended in the middle.
func (w *Writer) finishCompression() {
	if !w.limit.Compress || w.limit.Files <= 1 {
		return
	}
	if info, err := os.Lstat(rotated(w.path, 1)); err == nil {
		w.compressing.Go(func() { compressOrTell(rotated(w.path, 1), info.ModTime()) })
	}
}

func compressOrTell(path string, last time.Time) {
	if err := compress(path, last); err != nil {
		slog.Warn("a rotated log stays uncompressed", "file", path, "error", err)
	}
}

// compress puts path.gz in the place of path. A reader finds one of them, whole, at any time.
func compress(path string, last time.Time) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	note := footnote{LastTime: last}
	if note.File, err = identify(in); err != nil {
		return err
	}
	tmp := path + ".gz.tmp"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
	z.Extra, _ = json.Marshal(note)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}
