package logs

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Query says what of a log is wanted.
type Query struct {
	// Tail is how many entries from the end; negative for all.
	Tail int
	// Since and Until bound the time of entries; zero for no bound.
	Since, Until time.Time
	// Follow waits for more entries, until Ended is closed and all that was written is read. Nil never is.
	Follow bool
	Ended  <-chan struct{}
	// Idle is called whenever there is nothing to read for now: who buffers has to write. Nil is nothing to call.
	Idle func() error
}

// errEnough ends reading from inside.
var errEnough = errors.New("enough")

// Read gives the entries of a log to each, in the order in which they were written. It ends early with the context's
// error or with an error of each. A log that was never written has no entries.
func Read(ctx context.Context, driver, path string, q Query, each func(*Entry) error) error {
	r, err := NewReader(driver, path, q)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.Read(ctx, each)
}

// Reader reads a log that is open: what was written by then can be read when it has been removed.
type Reader struct {
	codec codec
	path  string
	q     Query
	woken *watcher
	files []*source // not read yet, the current one last

	// While it is read.
	ctx  context.Context
	each func(*Entry) error
	// started says that an entry after Since was seen: times may go back, and later ones count then.
	started bool

	// The current file, while it is followed.
	current *source
	scan    scanner
	at      int64
}

// NewReader opens a log for one reading.
func NewReader(driver, path string, q Query) (*Reader, error) {
	c, err := newCodec(driver, nil)
	if err != nil {
		return nil, err
	}
	r := &Reader{codec: c, path: path, q: q}
	if q.Follow {
		r.woken = watch(path)
	}
	if r.files, err = openLog(path); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close closes it.
func (r *Reader) Close() {
	if r.woken != nil {
		r.woken.close()
	}
	closeSources(r.files)
	if r.current != nil {
		r.current.close()
	}
}

// Read gives the entries to each, as the function of that name does.
func (r *Reader) Read(ctx context.Context, each func(*Entry) error) error {
	r.ctx, r.each = ctx, each
	if err := r.run(); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

func (r *Reader) run() error {
	if r.q.Tail >= 0 {
		if err := r.skip(r.files); err != nil {
			return err
		}
	}
	for len(r.files) > 1 {
		if err := r.file(r.files[0]); err != nil {
			return err
		}
		r.files[0].close()
		r.files = r.files[1:]
	}
	if len(r.files) == 1 {
		r.current, r.files = r.files[0], nil
		if err := r.begin(); err != nil {
			return err
		}
		if err := r.drain(); err != nil {
			return err
		}
	}
	if !r.q.Follow {
		return nil
	}
	return r.follow()
}

// skip moves to the last entries, from the youngest file to the oldest.
func (r *Reader) skip(list []*source) error {
	left := r.q.Tail
	for _, s := range slices.Backward(list) {
		if left == 0 {
			if err := s.toEnd(); err != nil {
				return err
			}
			continue
		}
		if err := s.unpack(); err != nil {
			return err
		}
		from, found, err := r.codec.tail(s.f, s.size, left)
		if err != nil {
			return err
		}
		if _, err := s.f.Seek(from, io.SeekStart); err != nil {
			return err
		}
		left -= found
	}
	return nil
}

// toEnd says that nothing of the file that is there now is wanted.
func (s *source) toEnd() error {
	s.z = nil
	_, err := s.f.Seek(s.size, io.SeekStart)
	return err
}

// file reads a file that is complete.
func (r *Reader) file(s *source) error {
	if !s.last.IsZero() && s.last.Before(r.q.Since) && s.z != nil {
		return nil
	}
	scan := scanner{codec: r.codec}
	return r.entries(&scan, s.reader(), true)
}

func (r *Reader) begin() error {
	at, err := r.current.f.Seek(0, io.SeekCurrent)
	r.scan, r.at = scanner{codec: r.codec}, at
	return err
}

// drain reads the current file to its present end. One that was made shorter is read anew.
func (r *Reader) drain() error {
	info, err := r.current.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < r.at {
		if _, err := r.current.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r.scan, r.at = scanner{codec: r.codec}, 0
	}
	return r.entries(&r.scan, &counted{r.current.f, &r.at}, false)
}

type counted struct {
	r io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// entries gives those of a file, or of what it has now, to who asked.
func (r *Reader) entries(scan *scanner, from io.Reader, complete bool) error {
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var e Entry
		ok, err := scan.next(from, &e)
		if !ok && err == nil && complete {
			ok = scan.last(&e)
		}
		switch {
		case errors.Is(err, errGarbage):
			return nil // The rest of this file cannot be understood; the next one can.
		case err != nil:
			return err
		case !ok:
			return nil
		}
		if err := r.pass(&e); err != nil {
			return err
		}
	}
}

func (r *Reader) pass(e *Entry) error {
	if !r.started && e.Time.Before(r.q.Since) {
		return nil
	}
	r.started = true
	if !r.q.Until.IsZero() && e.Time.After(r.q.Until) {
		return errEnough
	}
	return r.each(e)
}

// follow waits for more. When the file is not the current one any more, nobody writes into it: what is left is read,
// then the files that came after it.
func (r *Reader) follow() error {
	for {
		ended := r.hasEnded() // Asked before reading: what was written until then is read.
		moved := r.moved()
		if r.current != nil {
			if err := r.drain(); err != nil {
				return err
			}
		}
		if moved {
			if err := r.next(); err != nil {
				return err
			}
			continue
		}
		if ended {
			return nil
		}
		if err := r.wait(); err != nil {
			return err
		}
	}
}

func (r *Reader) hasEnded() bool {
	select {
	case <-r.q.Ended:
		return true
	default:
		return false
	}
}

func (r *Reader) moved() bool {
	now, err := statIdentity(unix.AT_FDCWD, r.path, 0)
	return err == nil && (r.current == nil || now != r.current.id)
}

func (r *Reader) wait() error {
	if r.q.Idle != nil {
		if err := r.q.Idle(); err != nil {
			return err
		}
	}
	var until <-chan time.Time
	if !r.q.Until.IsZero() {
		t := time.NewTimer(time.Until(r.q.Until))
		defer t.Stop()
		until = t.C
	}
	select {
	case <-r.woken.c:
	case <-r.q.Ended:
	case <-until:
		return errEnough
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	return nil
}

// next goes on with the files that came after the one that was read.
func (r *Reader) next() error {
	list, err := openLog(r.path)
	if err != nil || len(list) == 0 {
		return err
	}
	defer func() { closeSources(list) }()
	for i, s := range list {
		if r.current != nil && s.id == r.current.id {
			closeSources(list[:i+1])
			list = list[i+1:]
			break
		}
	}
	if len(list) == 0 {
		return nil
	}
	last := list[len(list)-1]
	older := list[:len(list)-1]
	for _, s := range older {
		if err := r.file(s); err != nil {
			return err
		}
	}
	if r.current != nil {
		r.current.close()
	}
	closeSources(older)
	list, r.current = nil, last
	return r.begin()
}

// scanner finds entries in bytes that come in pieces.
type scanner struct {
	codec codec
	buf   []byte
	// skipping says that the beginning of a line that is too long was dropped.
	skipping bool
}

// next reads on until there is an entry. It is false when there is no whole one before the end.
func (s *scanner) next(from io.Reader, e *Entry) (bool, error) {
	for {
		for len(s.buf) > 0 {
			n, found, err := s.codec.decode(s.buf, e)
			if err != nil {
				return false, err
			}
			if n == 0 {
				break
			}
			cut := n == len(s.buf) && s.buf[n-1] != '\n' && !found
			s.buf = s.buf[n:]
			if found && !s.skipping {
				return true, nil
			}
			s.skipping = cut
		}
		if err := s.fill(from); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
}

// last is an entry that only lacks its newline at the end of a file.
func (s *scanner) last(e *Entry) bool {
	if _, ok := s.codec.(jsonCodec); !ok || s.skipping || !decodeJSON(s.buf, e) {
		return false
	}
	s.buf = nil
	return true
}

func (s *scanner) fill(from io.Reader) error {
	const step = 32 << 10
	if cap(s.buf)-len(s.buf) < step/2 {
		s.buf = append(make([]byte, 0, len(s.buf)+step), s.buf...)
	}
	n, err := from.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}
