package events

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const segmentSuffix = ".log"

// segment is one file of the log. All but file are guarded by the lock of the Log; a dropped segment's file is closed,
// which is how its readers learn of it.
type segment struct {
	first   uint64 // number of its first record
	count   uint64
	size    int64 // bytes of whole records
	given   int64 // bytes that have their blocks
	file    *os.File
	dropped bool
}

// next is the number after the segment's last.
func (s *segment) next() uint64 { return s.first + s.count }

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

func createSegment(dir string, first uint64) (*segment, error) {
	f, err := os.OpenFile(segmentPath(dir, first), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{first: first, file: f}
	s.extend()
	return s, nil
}

// ahead is for how many bytes the last segment has blocks: on a full file system things can still be deleted, which is
// told.
const ahead = 64 << 10

// extend gives the segment its blocks ahead; where there are none, or the file system cannot, it goes on without.
func (s *segment) extend() {
	if s.given >= s.size+ahead/2 {
		return
	}
	if err := unix.Fallocate(int(s.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, s.size, ahead); err == nil {
		s.given = s.size + ahead
	}
}

// cut removes what is behind the last whole record, and keeps the blocks.
func (s *segment) cut() error {
	err := s.trim()
	s.extend()
	return err
}

// trim removes what is behind the last whole record, and its blocks.
func (s *segment) trim() error {
	s.given = s.size
	return s.file.Truncate(s.size)
}

// drop takes the segment off the disk.
func (s *segment) drop() {
	s.dropped = true
	if err := os.Remove(s.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("event log: an old segment stays", "error", err)
	}
	s.file.Close()
}

// openSegments opens what is in dir, oldest first. Where a segment ends in something that is no record, as the death
// of the writer leaves it, it is cut off there. A file whose numbers are not above those before it is removed.
func openSegments(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir) // sorted by name, that is, by number
	if err != nil {
		return nil, err
	}
	var all []*segment
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || first == 0 || len(digits) != 20 || !e.Type().IsRegular() {
			continue
		}
		s, err := openSegment(dir, first)
		if err != nil {
			closeSegments(all)
			return nil, err
		}
		if len(all) > 0 && first < all[len(all)-1].next() {
			slog.Warn("event log: a segment overlaps the one before it and is removed", "file", s.file.Name())
			s.drop()
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

func closeSegments(all []*segment) {
	for _, s := range all {
		s.file.Close()
	}
}

func openSegment(dir string, first uint64) (*segment, error) {
	f, err := os.OpenFile(segmentPath(dir, first), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{first: first, file: f}
	data, err := os.ReadFile(f.Name()) // which asks for the size first
	if err != nil {
		f.Close()
		return nil, err
	}
	var bad error
	s.count, s.size, bad = scan(data, first)
	if bad == nil {
		return s, nil
	}
	slog.Warn("event log: cut off after the last whole record", "file", f.Name(), "bytes", int64(len(data))-s.size, "reason", bad)
	if err := f.Truncate(s.size); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}
