package jsonread

import (
	"strconv"
	"unicode/utf8"
)

// SyntaxError is the first place where the text is not JSON.
type SyntaxError struct {
	Offset int // bytes before the place
	Line   int // from 1
	Column int // from 1, in characters
	// Truncated says that the text ends before its value does.
	Truncated bool
	Problem   string // what is wrong there
}

// Error gives line and column, or for a truncated text its length in bytes.
func (e *SyntaxError) Error() string {
	if e.Truncated {
		return "unexpected end of JSON at byte " + strconv.Itoa(e.Offset)
	}
	return "line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column) + ": " + e.Problem
}

// FieldError is a value that does not fit the field it is meant for.
type FieldError struct {
	Path    string // mounts[3].options[1]; empty for the document itself
	Problem string // "want a string, got a number"
}

// Error is "path: problem".
func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Problem
	}
	return e.Path + ": " + e.Problem
}

// FieldErrors are the wrong values of a document in their order, at most 100.
type FieldErrors []*FieldError

// Error joins the errors with "; ", so that it stays one line.
func (e FieldErrors) Error() string {
	var b []byte
	for i, f := range e {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(b, f.Error()...)
	}
	return string(b)
}

// Unwrap makes errors.As find the first *FieldError.
func (e FieldErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, f := range e {
		list[i] = f
	}
	return list
}

// fail records a syntax error at the reader and moves it to the end, where no
// method finds anything more to read.
func (r *Reader) fail(text string) {
	if r.err != nil {
		return
	}
	e := &SyntaxError{Offset: r.pos, Line: 1, Problem: text, Truncated: r.pos >= len(r.data)}
	line := 0
	for i, c := range r.data[:r.pos] {
		if c == '\n' {
			e.Line++
			line = i + 1
		}
	}
	e.Column = utf8.RuneCount(r.data[line:r.pos]) + 1
	r.err = e
	r.pos = len(r.data)
}

// here shows the character at the reader, for an error text.
func (r *Reader) here() string {
	if r.pos >= len(r.data) {
		return "the end"
	}
	c, size := utf8.DecodeRune(r.data[r.pos:])
	if c == utf8.RuneError && size == 1 {
		return "byte 0x" + strconv.FormatUint(uint64(r.data[r.pos]), 16)
	}
	return strconv.QuoteRune(c)
}
