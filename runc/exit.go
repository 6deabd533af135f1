package main

// spokenError is told on stderr by a line of its own, in the place of a line of a log that is
// text on stderr.
type spokenError struct {
	error
	line string
}

func (e *spokenError) Unwrap() error { return e.error }

// exitError ends the program with a code of its own.
type exitError struct {
	error
	code int
}

func (e *exitError) ExitCode() int { return e.code }

func (e *exitError) Unwrap() error { return e.error }
