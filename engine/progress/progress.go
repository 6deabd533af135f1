package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// interval is how often a client hears of one thing's bytes: ten times a second looks smooth, more costs both sides.
const interval = 100 * time.Millisecond

// Writer writes messages of a stream, one JSON object a line. It may be used by several goroutines. The first write that
// fails ends it: what comes after is dropped, and Err tells why.
type Writer struct {
	mu  sync.Mutex
	out io.Writer
	err error
	// told is when each thing's bytes were last told; now is a clock that tests replace.
	told map[string]time.Time
	now  func() time.Time
}

// NewWriter writes to a stream.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, told: map[string]time.Time{}, now: time.Now}
}

// Message writes a line of text that is no step of anything: "Digest: sha256:…". The id may be empty.
func (w *Writer) Message(id, text string) {
	w.write(jsonstream.Message{ID: id, Status: text})
}

// Status tells which step a thing has come to ("Pulling fs layer", of a layer's short id).
func (w *Writer) Status(id, step string) {
	w.write(jsonstream.Message{ID: id, Status: step, Progress: &jsonstream.Progress{}})
}

// Done tells a last step: clients show no numbers beside it from then on.
func (w *Writer) Done(id, step string) {
	w.write(jsonstream.Message{ID: id, Status: step, Progress: &jsonstream.Progress{HideCounts: true}})
}

// Bytes tells how far a step is; total is 0 when unknown. A thing's steps are told ten times a second at most, so a last
// one that must arrive is Done's or Status's.
func (w *Writer) Bytes(id, step string, current, total int64) {
	w.rarely(id, step, jsonstream.Progress{Current: current, Total: total})
}

// Elapsed tells how long a step has taken, of which nobody knows how much there is. It counts from 1, because clients
// show nothing for 0.
func (w *Writer) Elapsed(id, step string, d time.Duration) {
	w.rarely(id, step, jsonstream.Progress{Current: 1 + int64(d/time.Second), Units: "s"})
}

// Stream writes output of a build step, or "Loaded image: …".
func (w *Writer) Stream(text string) {
	w.write(jsonstream.Message{Stream: text})
}

// Aux writes a value that programs read.
func (w *Writer) Aux(v any) {
	w.aux(jsonstream.Message{Progress: &jsonstream.Progress{}}, v)
}

// AuxOf writes a value that programs read, with an id that says what it is ("moby.image.id").
func (w *Writer) AuxOf(id string, v any) {
	w.aux(jsonstream.Message{ID: id}, v)
}

func (w *Writer) aux(m jsonstream.Message, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.fail(err)
		return
	}
	raw := json.RawMessage(b)
	m.Aux = &raw
	w.write(m)
}

// failure is an error's last line: old clients read its second field.
type failure struct {
	Error  string            `json:"error"`
	Detail *jsonstream.Error `json:"errorDetail"`
}

// Error ends the stream with an error. One of type *jsonstream.Error has a code of its own.
func (w *Writer) Error(err error) {
	var detail *jsonstream.Error
	if !errors.As(err, &detail) {
		detail = &jsonstream.Error{Message: err.Error()}
	}
	w.write(failure{Error: detail.Error(), Detail: detail})
}

// Err is why the stream ended early: the client has gone, mostly.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// rarely writes a step of a thing, unless it was told of that step just before.
func (w *Writer) rarely(id, step string, p jsonstream.Progress) {
	key := id + " " + step
	w.mu.Lock()
	now := w.now()
	soon := now.Sub(w.told[key]) < interval
	if !soon {
		w.told[key] = now
	}
	w.mu.Unlock()
	if !soon {
		w.write(jsonstream.Message{ID: id, Status: step, Progress: &p})
	}
}

// write writes one line, which ends as those of the API always did.
func (w *Writer) write(v any) {
	b, err := line(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if err == nil {
		_, err = w.out.Write(b)
	}
	w.err = err
}

func line(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte("\n")), "\r\n"...), nil
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}
