package jsonread

import (
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Skip checks the syntax of the next value and moves past it.
func (r *Reader) Skip() {
	switch c := r.peek(); c {
	case '{':
		r.skipObject()
	case '[':
		for _, ok := r.Array(); ok; ok = r.Element() {
			r.Skip()
		}
	case '"':
		r.scanString()
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		if c != '-' && (c < '0' || c > '9') {
			r.fail("want a JSON value, got " + r.here())
			return
		}
		r.scanNumber()
	}
}

// skipObject is Object and Member without making strings of the keys.
func (r *Reader) skipObject() {
	if !r.open() {
		return
	}
	if r.peek() == '}' {
		r.shut()
		return
	}
	for {
		if r.peek() != '"' {
			r.fail("want a key in double quotes, got " + r.here())
			return
		}
		if _, _, ok := r.scanString(); !ok {
			return
		}
		if r.peek() != ':' {
			r.fail("want ':' after an object key, got " + r.here())
			return
		}
		r.pos++
		r.Skip()
		switch r.peek() {
		case ',':
			r.pos++
		case '}':
			r.shut()
			return
		default:
			r.fail("want ',' or '}' after an object member, got " + r.here())
			return
		}
	}
}

// literal consumes true, false or null.
func (r *Reader) literal(word string) bool {
	for i := range len(word) {
		if r.pos >= len(r.data) || r.data[r.pos] != word[i] {
			r.fail("want " + word + ", got " + r.here())
			return false
		}
		r.pos++
	}
	return true
}

// scanNumber consumes a number; whole means that it has neither fraction nor exponent.
func (r *Reader) scanNumber() (text []byte, whole, ok bool) {
	start := r.pos
	if r.data[r.pos] == '-' {
		r.pos++
	}
	if r.pos < len(r.data) && r.data[r.pos] == '0' {
		r.pos++
	} else if !r.digits() {
		return nil, false, false
	}
	whole = true
	if r.pos < len(r.data) && r.data[r.pos] == '.' {
		whole = false
		if r.pos++; !r.digits() {
			return nil, false, false
		}
	}
	if r.pos < len(r.data) && r.data[r.pos]|0x20 == 'e' {
		whole = false
		r.pos++
		if r.pos < len(r.data) && (r.data[r.pos] == '+' || r.data[r.pos] == '-') {
			r.pos++
		}
		if !r.digits() {
			return nil, false, false
		}
	}
	return r.data[start:r.pos], whole, true
}

// digits consumes one digit or more.
func (r *Reader) digits() bool {
	start := r.pos
	for r.pos < len(r.data) && r.data[r.pos]-'0' <= 9 {
		r.pos++
	}
	if r.pos == start {
		r.fail("want a digit, got " + r.here())
		return false
	}
	return true
}

// text reads a string. One that needs no rewriting aliases the document.
func (r *Reader) text() (string, bool) {
	raw, plain, ok := r.scanString()
	if !ok {
		return "", false
	}
	if !plain {
		raw = unquote(raw)
	}
	return unsafe.String(unsafe.SliceData(raw), len(raw)), true
}

// scanString consumes a string and returns what is between its quotes; plain
// means that this is already its value: no escapes, valid UTF-8.
func (r *Reader) scanString() (raw []byte, plain, ok bool) {
	data := r.data
	start := r.pos + 1
	plain = true
	ascii := true
	for i := start; i < len(data); {
		switch c := data[i]; {
		case c == '"':
			r.pos = i + 1
			raw = data[start:i]
			return raw, plain && (ascii || utf8.Valid(raw)), true
		case c == '\\':
			plain = false
			r.pos = i
			if !r.escape() {
				return nil, false, false
			}
			i = r.pos
		case c < ' ':
			r.pos = i
			r.fail("control character " + r.here() + " in a string, must be escaped")
			return nil, false, false
		default:
			ascii = ascii && c < utf8.RuneSelf
			i++
		}
	}
	r.pos = len(data)
	r.fail("")
	return nil, false, false
}

// escape consumes one escape sequence.
func (r *Reader) escape() bool {
	r.pos++
	if r.pos < len(r.data) {
		switch r.data[r.pos] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			r.pos++
			return true
		case 'u':
			for range 4 {
				r.pos++
				if r.pos >= len(r.data) || hexDigit(r.data[r.pos]) < 0 {
					r.fail(`want four hexadecimal digits after \u, got ` + r.here())
					return false
				}
			}
			r.pos++
			return true
		}
	}
	r.fail("unknown escape " + r.here() + " in a string")
	return false
}

// hexDigit returns the value of c, or -1.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// unquote returns the value of a scanned string. What is not Unicode (bytes that
// are not UTF-8, half of a surrogate pair) becomes U+FFFD, as in encoding/json.
func unquote(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '\\' && raw[i+1] == 'u':
			u := hex4(raw[i+2:])
			i += 6
			if utf16.IsSurrogate(u) {
				pair := rune(utf8.RuneError)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					pair = utf16.DecodeRune(u, hex4(raw[i+2:]))
				}
				if u = pair; pair != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, u)
		case c == '\\':
			out = append(out, unescaped(raw[i+1]))
			i += 2
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			u, size := utf8.DecodeRune(raw[i:])
			out = utf8.AppendRune(out, u)
			i += size
		}
	}
	return out
}

// unescaped is the character that a one-letter escape stands for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hex4 is the number in the four digits of a checked \u escape.
func hex4(b []byte) (u rune) {
	for _, c := range b[:4] {
		u = u<<4 | hexDigit(c)
	}
	return u
}
