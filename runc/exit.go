package main

// exitError ends the program with a code of its own.
type exitError struct {
	error
	code int
}

func (e *exitError) ExitCode() int { return e.code }

func (e *exitError) Unwrap() error { return e.error }
