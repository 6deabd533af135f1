package logs

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// source is one file of a log, open. Its name may be another one's already.
type source struct {
	f *os.File
	// id is what the file was before it was compressed.
	id   identity
	size int64
	// z reads it when it is compressed; last is the time of its last entry then, if it is known.
	z    *gzip.Reader
	last time.Time
}

func (s *source) close() { s.f.Close() }

func closeSources(list []*source) {
	for _, s := range list {
		s.close()
	}
}

// openLog opens all files of a log, the oldest first, the current one last. The writer rotates meanwhile as it likes: it
// moves the oldest first, so that who opens the youngest first misses none, and meets some twice. When the current
// file is not the current one at the end, it is tried again.
func openLog(path string) ([]*source, error) {
	for range 100 {
		list, err := openOnce(path)
		if err != nil {
			return nil, err
		}
		now, err := statIdentity(unix.AT_FDCWD, path, 0)
		if len(list) == 0 && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err == nil && len(list) > 0 && now == list[len(list)-1].id {
			return list, nil
		}
		closeSources(list)
		if errors.Is(err, fs.ErrNotExist) {
			time.Sleep(time.Millisecond) // Between two steps of a rotation.
		}
	}
	return nil, errors.New("the log is rotated faster than it can be opened")
}

func openOnce(path string) (list []*source, err error) {
	oldest, err := highest(path)
	if err != nil {
		return nil, err
	}
	seen := map[identity]bool{}
	for n := 0; n <= oldest+1; n++ {
		name := path
		if n > 0 {
			name = rotated(path, n)
		}
		s, err := openSource(name)
		if err == nil && s == nil && n > 0 {
			s, err = openSource(name + ".gz")
		}
		if err != nil {
			closeSources(list)
			return nil, err
		}
		switch {
		case s == nil:
		case seen[s.id]:
			s.close()
		default:
			seen[s.id] = true
			list = append([]*source{s}, list...)
		}
	}
	return list, nil
}

// highest is the largest number of the rotated files.
func highest(path string) (int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	most := 0
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); ok {
			if n, err := strconv.Atoi(strings.TrimSuffix(rest, ".gz")); err == nil && n < 10000 {
				most = max(most, n)
			}
		}
	}
	return most, err
}

// openSource is nil when there is no such file.
func openSource(name string) (*source, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	id, err := identify(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &source{f: f, id: id, size: info.Size()}
	if !strings.HasSuffix(name, ".gz") {
		return s, nil
	}
	if s.z, err = gzip.NewReader(f); err != nil {
		s.close()
		return nil, nil //nolint:nilerr // not one of ours, or torn: there is nothing to show
	}
	var note footnote
	if json.Unmarshal(s.z.Extra, &note) == nil {
		s.last = note.LastTime
		if note.File != (identity{}) {
			s.id = note.File
		}
	}
	return s, nil
}

// from is a reader of the file from its start.
func (s *source) reader() io.Reader {
	if s.z != nil {
		return s.z
	}
	return s.f
}

// unpack puts the content of a compressed file into a file without a name, so that its end can be read first.
func (s *source) unpack() error {
	if s.z == nil {
		return nil
	}
	tmp, err := os.CreateTemp("", "log-*")
	if err != nil {
		return err
	}
	os.Remove(tmp.Name())
	n, err := io.Copy(tmp, s.z)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(err, tmp.Close())
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return errors.Join(err, tmp.Close())
	}
	s.close()
	s.f, s.z, s.size = tmp, nil, n
	return nil
}
