package logs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"
)

// maxEntry is the largest entry in bytes that is read: a part of a line, escaped, and its attributes.
const maxEntry = 1 << 20

// errGarbage says that a file cannot be read from here on.
var errGarbage = errors.New("not a log entry")

// decode takes a JSON object that a newline ends. A line that is something else is skipped.
func (c jsonCodec) decode(b []byte, e *Entry) (n int, found bool, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if len(b) >= maxEntry {
			return len(b), false, nil // What follows, up to the newline, is skipped as well.
		}
		return 0, false, nil
	}
	return i + 1, decodeJSON(b[:i], e), nil
}

func decodeJSON(line []byte, e *Entry) bool {
	var v struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if json.Unmarshal(line, &v) != nil || v.Stream == "" {
		return false
	}
	*e = Entry{Source: v.Stream, Time: v.Time, Line: []byte(v.Log)}
	for k, val := range v.Attrs {
		e.Attrs = append(e.Attrs, Attr{k, val})
	}
	slices.SortFunc(e.Attrs, func(a, b Attr) int { return cmp.Compare(a.Key, b.Key) })
	return true
}

// tail is the offset from which n entries are in a file of a size, and how many there are.
func (c jsonCodec) tail(f io.ReaderAt, size int64, n int) (from int64, found int, err error) {
	end, err := lastNewline(f, size) // What is torn behind it does not count.
	if err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 32<<10)
	for at := end; at > 0; {
		part := buf[:min(int64(len(buf)), at)]
		if _, err := f.ReadAt(part, at-int64(len(part))); err != nil {
			return 0, 0, err
		}
		for i, c := range slices.Backward(part) {
			if c != '\n' {
				continue
			}
			if found == n {
				return at - int64(len(part)) + int64(i) + 1, found, nil
			}
			found++
		}
		at -= int64(len(part))
	}
	return 0, found, nil
}

// decode takes a message between its lengths.
func (c localCodec) decode(b []byte, e *Entry) (n int, found bool, err error) {
	if len(b) < lengthBytes {
		return 0, false, nil
	}
	size := binary.BigEndian.Uint32(b)
	if size > maxEntry {
		return 0, false, errGarbage
	}
	n = int(size) + 2*lengthBytes
	if len(b) < n {
		return 0, false, nil
	}
	if binary.BigEndian.Uint32(b[n-lengthBytes:]) != size {
		return 0, false, errGarbage
	}
	*e = Entry{}
	if !decodeMessage(b[lengthBytes:n-lengthBytes], e) {
		return 0, false, errGarbage
	}
	if e.whole() {
		e.Line = append(e.Line, '\n')
	}
	return n, true, nil
}

func (c localCodec) tail(f io.ReaderAt, size int64, n int) (from int64, found int, err error) {
	end, _, err := c.repair(f, size)
	if err != nil {
		return 0, 0, err
	}
	for found < n && end > 0 {
		frame, err := lastFrame(f, end)
		if err != nil || frame == 0 {
			return end, found, err
		}
		end -= frame
		found++
	}
	return end, found, nil
}

// field is one of a message: bytes or a number.
type field struct {
	tag   byte
	bytes []byte
	num   uint64
}

// fields walks a message. It is false when that is not one. Fields of other kinds are skipped, as the format wants.
func fields(b []byte, each func(field) bool) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		f := field{}
		if tag < 128 {
			f.tag = byte(tag)
		}
		switch tag & 7 {
		case 0, 2:
			if f.num, n = binary.Uvarint(b); n <= 0 {
				return false
			}
			b = b[n:]
		case 1:
			f.num = 8
		case 5:
			f.num = 4
		default:
			return false
		}
		if tag&7 != 0 {
			if f.num > uint64(len(b)) {
				return false
			}
			f.bytes, b = b[:f.num], b[f.num:]
		}
		if !each(f) {
			return false
		}
	}
	return true
}

func decodeMessage(b []byte, e *Entry) bool {
	partial, meta := false, Partial{}
	ok := fields(b, func(f field) bool {
		switch f.tag {
		case tagSource:
			e.Source = string(f.bytes)
		case tagTime:
			e.Time = time.Unix(0, int64(f.num)).UTC()
		case tagLine:
			e.Line = append([]byte(nil), f.bytes...)
		case tagPartial:
			partial = f.num != 0
		case tagMeta:
			return decodePartial(f.bytes, &meta)
		case tagAttr:
			var a Attr
			if !decodeAttr(f.bytes, &a) {
				return false
			}
			e.Attrs = append(e.Attrs, a)
		}
		return true
	})
	if partial {
		e.Partial = &meta
	}
	return ok
}

func decodePartial(b []byte, p *Partial) bool {
	return fields(b, func(f field) bool {
		switch f.tag {
		case tagLast:
			p.Last = f.num != 0
		case tagID:
			p.ID = string(f.bytes)
		case tagOrdinal:
			p.Ordinal = int(int32(f.num))
		}
		return true
	})
}

func decodeAttr(b []byte, a *Attr) bool {
	return fields(b, func(f field) bool {
		switch f.tag {
		case tagKey:
			a.Key = string(f.bytes)
		case tagValue:
			a.Value = string(f.bytes)
		}
		return true
	})
}
