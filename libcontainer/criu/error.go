package criu

import (
	"fmt"
	"os"
	"strings"
)

// Error is a request that CRIU did not fulfil.
type Error struct {
	Type  Type // of the message with which CRIU said so
	Errno int
	Text  string // CRIU's last word
	Log   string // path, "" for none
}

func (e *Error) Error() string {
	s := fmt.Sprintf("criu failed: type %s errno %d", e.Type, e.Errno)
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Log != "" {
		s += "; log file: " + e.Log
	}
	return s
}

// MissingError tells that there is no CRIU on this machine.
type MissingError struct{ err error }

func (e *MissingError) Error() string {
	return "criu is needed to checkpoint and restore: " + e.err.Error()
}

// Unwrap gives the reason.
func (e *MissingError) Unwrap() error { return e.err }

// lastError finds the cause in a log. CRIU reports it first, and in the next lines what
// failed because of it; that the whole has failed comes last, and says nothing.
func lastError(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	cause, following := "", false
	for line := range strings.Lines(string(b)) {
		_, text, isError := strings.Cut(line, "Error (")
		text = strings.TrimSpace(text)
		if strings.HasSuffix(text, "FAILED.") {
			break
		}
		if isError && !following {
			cause = "Error (" + text
		}
		following = isError
	}
	return cause
}
