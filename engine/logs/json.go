package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"
)

// jsonCodec writes one JSON object a line: {"log":…,"stream":…,"attrs":…,"time":…}. The bytes are those that dockerd
// writes, escapes and order of keys included: log shippers read these files.
type jsonCodec struct {
	attrs []byte // encoded; empty for none
}

func newJSONCodec(attrs map[string]string) jsonCodec {
	if len(attrs) == 0 {
		return jsonCodec{}
	}
	b, _ := json.Marshal(attrs) // A map of strings can always be encoded.
	return jsonCodec{attrs: b}
}

func (c jsonCodec) appendEntry(b []byte, e *Entry) []byte {
	b = append(b, '{')
	if len(e.Line) > 0 || e.whole() {
		b = append(b, `"log":"`...)
		b = appendEscaped(b, e.Line)
		if e.whole() {
			b = append(b, `\n`...)
		}
		b = append(b, `",`...)
	}
	b = append(b, `"stream":"`...)
	b = append(b, e.Source...)
	b = append(b, '"')
	if len(c.attrs) > 0 {
		b = append(b, `,"attrs":`...)
		b = append(b, c.attrs...)
	}
	b = append(b, `,"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, "\"}\n"...)
}

// appendEscaped writes s as the inside of a JSON string. What is not UTF-8 becomes U+FFFD.
func appendEscaped(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '\\' && c != '"' && c != '<' && c != '>' && c != '&' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '\\', '"':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), '\\', 'u', '2', '0', '2', hex[r&15])
			start = i + size
		}
		i += size
	}
	return append(b, s[start:]...)
}

// repair looks at what stands behind the last newline: an entry that only lacks it gets it, anything else goes.
func (c jsonCodec) repair(f readerAt, size int64) (int64, []byte, error) {
	end, err := lastNewline(f, size)
	if err != nil || end == size {
		return size, nil, err
	}
	torn := make([]byte, size-end)
	if _, err := f.ReadAt(torn, end); err != nil {
		return size, nil, err
	}
	if json.Valid(torn) && torn[0] == '{' {
		return size, []byte{'\n'}, nil
	}
	return end, nil, nil
}

// lastNewline is the offset behind the last newline before size; zero without one.
func lastNewline(f readerAt, size int64) (int64, error) {
	buf := make([]byte, 4<<10)
	for size > 0 {
		n := min(int64(len(buf)), size)
		if _, err := f.ReadAt(buf[:n], size-n); err != nil && err != io.EOF {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return size - n + int64(i) + 1, nil
		}
		size -= n
	}
	return 0, nil
}
