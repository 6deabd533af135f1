// Package fault gives errors a class of github.com/containerd/errdefs and keeps their text exactly: clients of the
// Docker API read the words.
package fault

import (
	"errors"
	"fmt"
)

// Errorf is an error of a class whose text is exactly what the client shall read.
func Errorf(class error, format string, args ...any) error {
	return classified{fmt.Errorf(format, args...), class}
}

// As gives an error a class and keeps its text. Nil stays nil.
func As(class, err error) error {
	if err == nil {
		return nil
	}
	return classified{err, class}
}

// Class is the class that Errorf or As gave last to an error or to what it wraps; nil when there is none.
func Class(err error) error {
	if c, ok := errors.AsType[classified](err); ok {
		return c.class
	}
	return nil
}

type classified struct {
	error
	class error
}

func (c classified) Unwrap() []error { return []error{c.error, c.class} }
