package logs

import (
	"fmt"
	"time"
)

// MaxLine is the number of bytes at which a longer line is split into entries that say so.
const MaxLine = 16 << 10

// The drivers that keep logs in files.
const (
	JSONFile = "json-file"
	Local    = "local"
	// None is the driver that keeps nothing.
	None = "none"
)

// Entry is a line of output, or a part of one.
type Entry struct {
	// Source is stdout or stderr.
	Source string
	Time   time.Time
	// Line has no newline when it is written. When it is read, it ends in one unless more of the line follows.
	Line []byte
	// Attrs are told by readers; writers have theirs from Open.
	Attrs []Attr
	// Partial is nil for a whole line.
	Partial *Partial
}

// Attr is one label or variable that the log's options ask for.
type Attr struct{ Key, Value string }

// Partial says which part of a long line an entry is.
type Partial struct {
	// ID is the same for all parts of a line, 64 hexadecimal digits.
	ID string
	// Ordinal counts parts from 1.
	Ordinal int
	Last    bool
}

// whole says that a newline ends the entry.
func (e *Entry) whole() bool { return e.Partial == nil || e.Partial.Last }

// codec is what a driver's file looks like.
type codec interface {
	// appendEntry encodes an entry behind b.
	appendEntry(b []byte, e *Entry) []byte
	// repair is asked when a file is opened for more: how many bytes of it are whole entries, and what has to be added
	// to complete the last one.
	repair(f readerAt, size int64) (keep int64, add []byte, err error)
	// decode takes what is first in b: how many bytes that is (0 when there is no end yet), and whether it is an entry
	// rather than something to skip. The entry keeps nothing of b.
	decode(b []byte, e *Entry) (n int, found bool, err error)
	// tail is the offset from which the last n entries are in a file of a size, and how many there are.
	tail(f readerAt, size int64, n int) (from int64, found int, err error)
}

func newCodec(driver string, attrs map[string]string) (codec, error) {
	switch driver {
	case JSONFile:
		return newJSONCodec(attrs), nil
	case Local:
		return newLocalCodec(attrs), nil
	}
	return nil, fmt.Errorf("logger: no log driver named '%s' is registered", driver)
}
