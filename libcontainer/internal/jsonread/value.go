package jsonread

import (
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// The functions below read the next value into *v. A key that occurs twice counts
// as its last occurrence alone, so each first forgets what *v held; null is the
// zero value. A value of another type is a problem and is passed over.

// Signed is every signed integer type.
type Signed interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64
}

// Unsigned is every unsigned integer type.
type Unsigned interface {
	~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// String reads a string. A NUL in it is a problem: every string of a config ends
// up in a system call or a kernel file, and there it would be cut short.
func String[T ~string](r *Reader, v *T) {
	*v = ""
	if r.peek() != '"' {
		r.mismatch("a string")
		return
	}
	start := r.pos
	s, ok := r.text()
	if ok && strings.IndexByte(s, 0) >= 0 {
		r.problemAt(start, "contains a NUL character")
	}
	*v = T(s)
}

// Bool reads true or false.
func Bool[T ~bool](r *Reader, v *T) {
	*v = false
	switch r.peek() {
	case 't':
		*v = T(r.literal("true"))
	case 'f':
		r.literal("false")
	default:
		r.mismatch("a boolean")
	}
}

// Int reads a whole number in the range of T.
func Int[T Signed](r *Reader, v *T) {
	*v = 0
	start, text := r.integer()
	if text == "" {
		return
	}
	bits := int(unsafe.Sizeof(*v)) * 8
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		limit := uint64(1) << (bits - 1)
		r.outside(start, "-"+strconv.FormatUint(limit, 10), limit-1, text)
		return
	}
	*v = T(n)
}

// Uint reads a whole number in the range of T.
func Uint[T Unsigned](r *Reader, v *T) {
	*v = 0
	start, text := r.integer()
	if text == "" {
		return
	}
	n, err := strconv.ParseUint(text, 10, int(unsafe.Sizeof(*v))*8)
	if err != nil {
		r.outside(start, "0", uint64(^T(0)), text)
		return
	}
	*v = T(n)
}

// Time reads a time as RFC 3339 writes it.
func Time(r *Reader, v *time.Time) {
	*v = time.Time{}
	if r.peek() != '"' {
		r.mismatch("a string")
		return
	}
	start := r.pos
	s, ok := r.text()
	if ok && v.UnmarshalText([]byte(s)) != nil {
		r.problemAt(start, "want a time like 2006-01-02T15:04:05Z, got "+strconv.Quote(cut(s)))
	}
}

// Raw keeps the text of any value, null too. It aliases the document.
func Raw[T ~[]byte](r *Reader, v *T) {
	*v = nil
	r.peek()
	start := r.pos
	if r.Skip(); r.err == nil {
		*v = T(r.data[start:r.pos:r.pos])
	}
}

// Pointer reads a value into a new T; null is the nil pointer.
func Pointer[T any](r *Reader, v **T, read func(*Reader, *T)) {
	*v = nil
	if r.Null() {
		return
	}
	*v = new(T)
	read(r, *v)
}

// Slice reads an array; [] is an empty slice, null the nil slice.
func Slice[S ~[]T, T any](r *Reader, v *S, read func(*Reader, *T)) {
	*v = nil
	present, ok := r.Array()
	if !present {
		return
	}
	list := S{}
	if ok {
		list = make(S, 0, 4)
	}
	for ; ok; ok = r.Element() {
		var zero T
		list = append(list, zero)
		read(r, &list[len(list)-1])
	}
	*v = list
}

// Map reads an object with any keys; {} is an empty map, null the nil map.
func Map[M ~map[K]T, K ~string, T any](r *Reader, v *M, read func(*Reader, *T)) {
	*v = nil
	if r.peek() == '{' {
		*v = M{}
	}
	key, ok := r.Object()
	for ; ok; key, ok = r.Member() {
		if strings.IndexByte(key, 0) >= 0 {
			r.problemAt(r.pos, "key contains a NUL character")
		}
		var value T
		read(r, &value)
		(*v)[K(key)] = value
	}
}

// SkipObject passes over an object and reports whether there was one.
func (r *Reader) SkipObject() bool {
	if r.peek() != '{' {
		r.mismatch("an object")
		return false
	}
	r.Skip()
	return true
}

// KeepObject passes over an object and leaves its text, nil for null, in Kept. It
// aliases the document.
func (r *Reader) KeepObject() {
	r.peek()
	start := r.pos
	r.Kept = nil
	if r.SkipObject() && r.err == nil {
		r.Kept = r.data[start:r.pos:r.pos]
	}
}

// integer reads a whole number; its text is empty when there is none.
func (r *Reader) integer() (start int, text string) {
	c := r.peek()
	start = r.pos
	if c != '-' && (c < '0' || c > '9') {
		r.mismatch("a number")
		return start, ""
	}
	b, whole, ok := r.scanNumber()
	if !ok {
		return start, ""
	}
	text = unsafe.String(unsafe.SliceData(b), len(b))
	if !whole {
		r.problemAt(start, "want a whole number without exponent, got "+cut(text))
		return start, ""
	}
	return start, text
}

func (r *Reader) outside(start int, low string, high uint64, text string) {
	r.problemAt(start, "want a number from "+low+" to "+strconv.FormatUint(high, 10)+", got "+cut(text))
}

// cut shortens a text of the input that goes into an error.
func cut(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
