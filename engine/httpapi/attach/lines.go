package attach

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/url"
	"time"

	"github.com/gantry-containers/gantry/engine/logs"
)

// timeFormat is RFC 3339 with nanoseconds that are never left out: columns stay columns.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// view is what of an entry is shown.
type view struct {
	stdout, stderr bool
	times, details bool
}

func (v view) shows(source string) bool {
	return source == "stdout" && v.stdout || source == "stderr" && v.stderr
}

// sink writes entries to a client, and errors that come too late for a status.
type sink interface {
	write(*logs.Entry) error
	tell(text string)
}

// bufferSize is how much is written at once when there is that much.
const bufferSize = 32 << 10

// lines writes entries as text, with stdcopy's frames when mux is set.
type lines struct {
	w   io.Writer
	mux bool
	v   view
	buf []byte
}

func newLines(w io.Writer, mux bool, v view) *lines { return &lines{w: w, mux: mux, v: v} }

func (l *lines) write(e *logs.Entry) error {
	if !l.v.shows(e.Source) {
		return nil
	}
	stream := byte(1)
	if e.Source == "stderr" {
		stream = 2
	}
	l.begin()
	if l.v.times {
		l.buf = e.Time.AppendFormat(l.buf, timeFormat)
		l.buf = append(l.buf, ' ')
	}
	if l.v.details {
		l.buf = append(appendAttrs(l.buf, e.Attrs), ' ')
	}
	l.buf = append(l.buf, e.Line...)
	return l.end(stream)
}

// tell writes an error of the engine.
func (l *lines) tell(text string) {
	l.begin()
	l.buf = append(l.buf, text...)
	_ = l.end(3)
}

func (l *lines) begin() {
	l.buf = l.buf[:0]
	if l.mux {
		l.buf = append(l.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	}
}

func (l *lines) end(stream byte) error {
	if l.mux {
		l.buf[0] = stream
		binary.BigEndian.PutUint32(l.buf[4:], uint32(len(l.buf)-8))
	}
	_, err := l.w.Write(l.buf)
	return err
}

// appendAttrs writes attributes in the order of their keys, which they have.
func appendAttrs(b []byte, attrs []logs.Attr) []byte {
	for i, a := range attrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, url.QueryEscape(a.Key)...)
		b = append(b, '=')
		b = append(b, url.QueryEscape(a.Value)...)
	}
	return b
}

// jsonLines writes an object for every entry.
type jsonLines struct {
	w        io.Writer
	sequence bool
	v        view
}

func newJSONLines(w io.Writer, sequence bool, v view) *jsonLines {
	return &jsonLines{w: w, sequence: sequence, v: v}
}

type message struct {
	Line      string `json:",omitempty"`
	Source    string `json:",omitempty"`
	Timestamp time.Time
	Attrs     []logs.Attr   `json:",omitempty"`
	MetaData  *logs.Partial `json:",omitempty"`
	Error     string        `json:",omitempty"`
}

func (j *jsonLines) write(e *logs.Entry) error {
	if !j.v.shows(e.Source) {
		return nil
	}
	m := message{Line: string(e.Line), Source: e.Source, Timestamp: e.Time, MetaData: e.Partial}
	if j.v.details {
		m.Attrs = e.Attrs
	}
	return j.encode(m)
}

func (j *jsonLines) tell(text string) { _ = j.encode(message{Error: text}) }

func (j *jsonLines) encode(m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if j.sequence {
		b = append([]byte{0x1e}, b...)
	}
	_, err = j.w.Write(append(b, '\n'))
	return err
}
