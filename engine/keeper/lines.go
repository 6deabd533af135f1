package keeper

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/gantry-containers/gantry/engine/logs"
)

// lines cuts one stream of output into entries of a log.
type lines struct {
	source string
	// rest is a line whose end has not come yet; shorter than logs.MaxLine.
	rest []byte
	// id, since and parts belong to a line of which parts are written already; id is empty otherwise.
	id    string
	since time.Time
	parts int
}

// cut appends the entries that data completes. They are valid until the next call, and as long as data is.
func (l *lines) cut(to []logs.Entry, data []byte) []logs.Entry {
	for {
		i := bytes.IndexByte(data, '\n')
		// As much as fits into one entry, with what there is.
		room := logs.MaxLine - len(l.rest)
		switch {
		case i >= 0 && i < room:
			to = append(to, l.entry(l.take(data[:i]), true))
			data = data[i+1:]
		case len(data) >= room:
			to = append(to, l.entry(l.take(data[:room]), false))
			data = data[room:]
		default:
			l.rest = append(l.rest, data...)
			return to
		}
	}
}

// take is the line that ends with tail; rest is given away.
func (l *lines) take(tail []byte) []byte {
	if len(l.rest) == 0 {
		return tail
	}
	line := append(l.rest, tail...)
	l.rest = nil
	return line
}

// end is what remains when the stream has ended: a line without its newline.
func (l *lines) end(to []logs.Entry) []logs.Entry {
	if len(l.rest) == 0 {
		return to
	}
	return append(to, l.entry(l.take(nil), false))
}

func (l *lines) entry(line []byte, last bool) logs.Entry {
	e := logs.Entry{Source: l.source, Line: line}
	if last && l.id == "" {
		e.Time = time.Now()
		return e
	}
	if l.id == "" {
		l.id, l.since, l.parts = newID(), time.Now(), 0
	}
	l.parts++
	e.Time = l.since
	e.Partial = &logs.Partial{ID: l.id, Ordinal: l.parts, Last: last}
	if last {
		l.id = ""
	}
	return e
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // It never fails.
	return hex.EncodeToString(b[:])
}
