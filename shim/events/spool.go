package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The file: a header, which is the magic and the number of the last event that the daemon has taken, and records, each
// of which is its event's number, the length and the checksum of the body, and the body: an encoded
// containerd.types.Envelope. All numbers are big-endian; those of events grow, not always by one.
const (
	magic      = "gantry\x00\x01"
	headerSize = int64(len(magic)) + 8
	prefixSize = 8 + 4 + 4
	maxBody    = 4<<20 - 1024 // what ttrpc takes, less the envelopes round it

	// keptSize is what the file may hold though all of it is delivered: truncating it after each event would cost
	// more than the page.
	keptSize = 4096
)

// ErrInUse says that another process has the log of a bundle: the shim lives.
var ErrInUse = errors.New("another process has the log open")

// spool is the file. Its owner locks it, and locks itself.
type spool struct {
	file  *os.File
	taken uint64 // the last event that needs no delivery
	last  uint64 // the last event
	next  int64  // offset of the first record after taken
	end   int64  // offset of the next record to come
}

// openSpool takes over a file, which may be new or that of a process that was killed, and counts what is undelivered.
func openSpool(file *os.File) (s *spool, undelivered int, err error) {
	if err := lock(file, unix.LOCK_EX); err != nil {
		return nil, 0, err
	}
	s = &spool{file: file}
	found, err := s.readHeader()
	if err != nil {
		return nil, 0, err
	}
	if !found {
		return s, 0, s.create()
	}
	if err := s.scan(func(record) { undelivered++ }); err != nil {
		return nil, 0, err
	}
	// What a write that was cut short left would else stand behind the records to come.
	return s, undelivered, file.Truncate(s.end)
}

func lock(file *os.File, how int) error {
	switch err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB); err {
	case nil:
		return nil
	case unix.EWOULDBLOCK:
		return fmt.Errorf("%s: %w", file.Name(), ErrInUse)
	default:
		return &os.PathError{Op: "flock", Path: file.Name(), Err: err}
	}
}

func (s *spool) create() error {
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	_, err := s.file.WriteAt(binary.BigEndian.AppendUint64([]byte(magic), 0), 0)
	s.next, s.end = headerSize, headerSize
	return err
}

// readHeader says whether there is one: a process may have been killed before it wrote it.
func (s *spool) readHeader() (bool, error) {
	var h [headerSize]byte
	switch _, err := s.file.ReadAt(h[:], 0); {
	case err == io.EOF:
		return false, nil
	case err != nil:
		return false, err
	case string(h[:len(magic)]) != magic:
		return false, fmt.Errorf("%s: not a log of events", s.file.Name())
	}
	s.taken = binary.BigEndian.Uint64(h[len(magic):])
	s.last, s.next, s.end = s.taken, headerSize, headerSize
	return true, nil
}

// scan looks at the records that are undelivered, finds the end, and the numbers.
func (s *spool) scan(each func(record)) error {
	for {
		r, err := s.read(s.end)
		if errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return err
		}
		s.end += r.size()
		s.last = max(s.last, r.number)
		if r.number <= s.taken {
			s.next = s.end
			continue
		}
		each(r)
	}
}

type record struct {
	number uint64
	body   []byte
}

func (r record) size() int64 { return prefixSize + int64(len(r.body)) }

func (r record) checksum() uint32 {
	h := fnv.New32a()
	h.Write(binary.BigEndian.AppendUint64(nil, r.number))
	h.Write(r.body)
	return h.Sum32()
}

// errTorn says that no whole record is at an offset: it is the end of the file, or a write was cut short there.
var errTorn = errors.New("no whole record")

func (s *spool) read(at int64) (record, error) {
	var prefix [prefixSize]byte
	if _, err := s.file.ReadAt(prefix[:], at); err != nil {
		return record{}, torn(err)
	}
	length := binary.BigEndian.Uint32(prefix[8:])
	if length > maxBody {
		return record{}, errTorn
	}
	r := record{number: binary.BigEndian.Uint64(prefix[:]), body: make([]byte, length)}
	if _, err := s.file.ReadAt(r.body, at+prefixSize); err != nil {
		return record{}, torn(err)
	}
	if r.checksum() != binary.BigEndian.Uint32(prefix[12:]) {
		return record{}, errTorn
	}
	return r, nil
}

func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTorn
	}
	return err
}

// append writes a record with the next number: when it returns, the page cache has it, and the end of this process
// changes nothing about that. Where it fails, nothing of it is left.
func (s *spool) append(body []byte) error {
	if len(body) > maxBody {
		return fmt.Errorf("an event of %d bytes: the limit is %d", len(body), maxBody)
	}
	r := record{number: s.last + 1, body: body}
	b := make([]byte, 0, r.size())
	b = binary.BigEndian.AppendUint64(b, r.number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, r.checksum())
	if n, err := s.file.WriteAt(append(b, body...), s.end); err != nil {
		if n > 0 {
			err = errors.Join(err, s.file.Truncate(s.end))
		}
		return err
	}
	s.last = r.number
	s.end += r.size()
	return nil
}

// mark notes that the events up to a number are delivered. A file whose records all are is made small.
func (s *spool) mark(number uint64) error {
	s.taken = number
	b := binary.BigEndian.AppendUint64(nil, number)
	if _, err := s.file.WriteAt(b, int64(len(magic))); err != nil {
		return err
	}
	if s.next < s.end || s.end <= keptSize {
		return nil
	}
	if err := s.file.Truncate(headerSize); err != nil {
		return err
	}
	s.next, s.end = headerSize, headerSize
	return nil
}
