// Package jsonread is what the code written by jsongen is made of: a pull reader
// for JSON (RFC 8259) that fills Go values without reflection, and the append
// functions that are its reverse.
//
// Reading goes on after a value of the wrong type, so one pass collects all such
// problems; the first syntax error ends it. Where a value goes wrong is kept as a
// byte offset and turned into a path (mounts[3].options[1]) only when there is
// something to report, so good input pays nothing for good errors.
package jsonread

import "strconv"

// MaxDepth is how deep objects and arrays may be nested. The deepest field of a
// config.json is 7 levels down; the limit keeps recursion off hostile input.
const MaxDepth = 1000

// maxProblems bounds the list of wrong values: a 16 MiB array of them must not
// become gigabytes of error text. Later ones are not reported.
const maxProblems = 100

// Reader reads one JSON document. Its methods and the functions that take it are
// called in the order of the document; after a syntax error they do nothing.
type Reader struct {
	data     []byte
	pos      int
	depth    int
	err      *SyntaxError
	problems []problem

	// Kept is the last value that KeepObject left undecoded.
	Kept []byte
}

// problem is a value that can't be stored, by its place in the document.
type problem struct {
	offset int
	text   string
}

// New returns a reader at the start of data. Decoded strings alias data: it must
// not be modified as long as they are in use.
func New(data []byte) *Reader {
	r := &Reader{data: data}
	if len(data) >= 3 && data[0] == 0xEF && data[1] == 0xBB && data[2] == 0xBF {
		r.fail("byte order mark before the JSON text")
	}
	return r
}

// End checks that nothing follows the value that was read and returns what was
// wrong with the document: a *SyntaxError, or FieldErrors with paths that start
// with prefix (a path itself, or ""), or nil.
func (r *Reader) End(prefix string) error {
	if r.peek(); r.pos < len(r.data) {
		r.fail("unexpected " + r.here() + " after the end of the JSON value")
	}
	if r.err != nil {
		return r.err
	}
	if len(r.problems) > 0 {
		return locate(r.data, r.problems, prefix)
	}
	return nil
}

// NotNull reports whether the next value is something else than null, which is
// consumed and a problem otherwise. It is for the document itself: a file that
// says null must not pass for an empty one.
func (r *Reader) NotNull() bool {
	if r.peek() != 'n' {
		return true
	}
	start := r.pos
	if r.literal("null") {
		r.problemAt(start, "want an object, got null")
	}
	return false
}

// Object enters an object and returns its first key. It is false, and the value
// is consumed, when there is no member to read: {}, null, or another type.
func (r *Reader) Object() (key string, ok bool) {
	if r.peek() != '{' {
		r.mismatch("an object")
		return "", false
	}
	if !r.open() {
		return "", false
	}
	if r.peek() == '}' {
		r.shut()
		return "", false
	}
	return r.key()
}

// Member returns the next key of the object after the value of the last one was
// read; false leaves the object.
func (r *Reader) Member() (key string, ok bool) {
	switch r.peek() {
	case ',':
		r.pos++
		r.peek()
		return r.key()
	case '}':
		r.shut()
	default:
		r.fail("want ',' or '}' after an object member, got " + r.here())
	}
	return "", false
}

// Array enters an array; false, with the value consumed, means that there is no
// element to read: [], null, or another type. present tells [] from the others.
func (r *Reader) Array() (present, ok bool) {
	if r.peek() != '[' {
		r.mismatch("an array")
		return false, false
	}
	if !r.open() {
		return false, false
	}
	if r.peek() == ']' {
		r.shut()
		return true, false
	}
	return true, true
}

// Element reports whether the array goes on after the element that was read;
// false leaves the array.
func (r *Reader) Element() bool {
	switch r.peek() {
	case ',':
		r.pos++
		return true
	case ']':
		r.shut()
	default:
		r.fail("want ',' or ']' after an array element, got " + r.here())
	}
	return false
}

// Null consumes a null, if that is the next value.
func (r *Reader) Null() bool {
	return r.peek() == 'n' && r.literal("null")
}

// key reads an object key and the colon after it.
func (r *Reader) key() (string, bool) {
	if r.pos >= len(r.data) || r.data[r.pos] != '"' {
		r.fail("want a key in double quotes, got " + r.here())
		return "", false
	}
	s, ok := r.text()
	if !ok {
		return "", false
	}
	if r.peek() != ':' {
		r.fail("want ':' after an object key, got " + r.here())
		return "", false
	}
	r.pos++
	return s, true
}

func (r *Reader) open() bool {
	if r.depth++; r.depth > MaxDepth {
		r.fail("nested deeper than " + strconv.Itoa(MaxDepth) + " levels")
		return false
	}
	r.pos++
	return true
}

func (r *Reader) shut() {
	r.pos++
	r.depth--
}

// peek skips white space and returns the byte at the reader, 0 at the end.
func (r *Reader) peek() byte {
	for r.pos < len(r.data) {
		c := r.data[r.pos]
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		r.pos++
	}
	return 0
}

// mismatch consumes a value that is not what the caller wants. A null is never
// wrong: it stands for the zero value, as in encoding/json.
func (r *Reader) mismatch(want string) {
	got := r.kind()
	start := r.pos
	if r.Skip(); r.err == nil && got != "null" {
		r.problemAt(start, "want "+want+", got "+got)
	}
}

func (r *Reader) problemAt(offset int, text string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, problem{offset, text})
	}
}

// kind names the type of the next value for an error text.
func (r *Reader) kind() string {
	switch r.peek() {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
