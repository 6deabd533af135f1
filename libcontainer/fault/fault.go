// Package fault gives an error what a program may branch on: a code out of a closed set,
// and the field of config.json, or the flag, that is to blame. Both stand in the error's
// type, never in its text alone: docs/errors.md is their contract, docs/decisions/0023
// says why.
package fault

import "fmt"

// Error adds a code, a field or both to a cause.
type Error struct {
	Code  Code   // "" leaves it to the cause
	Field string // JSON path in config.json, or a flag such as --pid-file; "" when unknown
	Err   error
	bare  bool // the text does not begin with the field
}

// Error is "field: cause", or the cause alone where a client knows that text.
func (e *Error) Error() string {
	if e.bare || e.Field == "" {
		return e.Err.Error()
	}
	return e.Field + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// At names the field that an error comes from; the code is its cause's. nil stays nil.
func At(field string, err error) error { return Code("").At(field, err) }

// Atf is At for an error in the making.
func Atf(field, format string, args ...any) error {
	return &Error{Field: field, Err: fmt.Errorf(format, args...)}
}

// At is an error of this code that begins with its field. nil stays nil.
func (c Code) At(field string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: c, Field: field, Err: err}
}

// Atf is At for an error in the making.
func (c Code) Atf(field, format string, args ...any) error {
	return &Error{Code: c, Field: field, Err: fmt.Errorf(format, args...)}
}

// Of is an error of this code whose text is the cause's alone. nil stays nil.
func (c Code) Of(field string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: c, Field: field, Err: err, bare: true}
}

// Errorf is an error of this code that no field is to blame for.
func (c Code) Errorf(format string, args ...any) error {
	return &Error{Code: c, Err: fmt.Errorf(format, args...)}
}
