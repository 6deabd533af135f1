package main

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// logger writes the log that containerd's shim, podman and CRI-O read back: lines of
// key=value, or one JSON object per line. The zero logger writes text to stderr.
type logger struct {
	fd    int // 0: stderr
	json  bool
	debug bool
	quiet bool // no warnings
}

// open appends to the file from now on; it exists afterwards even if nothing is logged.
// "" and /dev/stderr are stderr: opening that by name fails when it is a socket.
func (l *logger) open(path string) error {
	if path == "" || path == "/dev/stderr" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_SYNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fault.FlagFailed.Atf("--log", "open %s: %w", path, err)
	}
	l.fd = fd
	return nil
}

// failure reports the error that ends the program: as one line of the log and, when
// that is not stderr, as a plain line there. In JSON it says also what a program may
// branch on (docs/errors.md).
func (l *logger) failure(err error) {
	var spoken *spokenError
	if l.fd == 0 && !l.json && errors.As(err, &spoken) {
		_ = writeAll(unix.Stderr, []byte(spoken.line+"\n"))
		return
	}
	msg := oneLine(err)
	var more []byte
	if l.json {
		more = appendDiagnosis(nil, libcontainer.Diagnose(err))
	}
	l.write("error", msg, more)
	if l.fd != 0 {
		_ = writeAll(unix.Stderr, append([]byte(msg), '\n')) // there is nobody left to tell
	}
}

// warning tells the user what stops nothing. A JSON log has no warnings: podman takes the
// whole file for one object, the error.
func (l *logger) warning(msg string) {
	if !l.quiet && (!l.json || l.debug) {
		l.write("warning", msg, nil)
	}
}

// trace adds what only --debug asks for.
func (l *logger) trace(msg string) { l.write("debug", msg, nil) }

// write adds a line to the log; more are further members of the object in JSON.
func (l *logger) write(level, msg string, more []byte) {
	now := time.Now().Format(time.RFC3339)
	var b []byte
	if l.json {
		b = appendJSON(append(b, `{"level":`...), level)
		b = appendJSON(append(b, `,"msg":`...), msg)
		b = appendJSON(append(b, `,"time":`...), now)
		b = append(append(b, more...), "}\n"...)
	} else {
		b = append(append(append(b, `time="`...), now...), `" level=`...)
		b = appendText(append(append(b, level...), " msg="...), msg)
		b = append(b, '\n')
	}
	fd := l.fd
	if fd == 0 {
		fd = unix.Stderr
	}
	_ = writeAll(fd, b) // a full disk must not hide the exit code
}

// oneLine is the error's text; joined errors stand behind each other.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

// writeAll writes b whole; a pipe takes it in pieces.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
