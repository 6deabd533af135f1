package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// failure is why a command failed, in the runtime's words.
type failure struct {
	text  string
	class error // one of the package's errors, or nil
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() error { return f.class }

// failure makes the error of a command that ended with this status: of the last error in its log, else of what it
// printed, else of the status.
func (r *Runtime) failure(c *call, log, stderr string, status unix.WaitStatus) error {
	text := r.logged(log)
	if text == "" {
		text = stderr
	}
	if text == "" {
		text = fmt.Sprintf("%s %s: exit status %d", r.Binary, c.verb, status.ExitStatus())
		if status.Signaled() {
			text = fmt.Sprintf("%s %s: killed by signal %d", r.Binary, c.verb, status.Signal())
		}
	}
	f := &failure{text: text}
	if c.verb != "create" && c.verb != "restore" { // those speak of other things that do not exist
		f.class = class(text)
	}
	return f
}

// words are what runtimes say: runc's of all ages, those of runtimes that repeat them because containerd looks for
// them, and crun's for a container that it has no state of.
var words = []struct {
	text  string
	class error
}{
	{"process already finished", ErrFinished},
	{"no such process", ErrFinished},
	{"container not running", ErrNotRunning},
	{"is not running", ErrNotRunning},
	{"does not exist", ErrNotFound},
	{"/status`: no such file or directory", ErrNotFound},
	{"cannot open directory", ErrNotFound},
}

func class(text string) error {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w.text) {
			return w.class
		}
	}
	return nil
}

// logged is the last error of a call's log, which is kept as the Log then.
func (r *Runtime) logged(log string) string {
	if log == "" {
		return ""
	}
	text := lastError(log)
	_ = os.Rename(log, r.Log)
	return text
}

// maxLog is as much of the end of a log as is searched, in bytes.
const maxLog = 64 << 10

func lastError(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxLog {
		_, _ = f.Seek(-maxLog, io.SeekEnd)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLog))
	if err != nil {
		return ""
	}
	for _, entry := range slices.Backward(bytes.Split(b, []byte{'\n'})) {
		var line struct {
			Level, Msg string
			Fields     struct{ Message string } // youki's
		}
		if json.Unmarshal(entry, &line) != nil || !strings.EqualFold(line.Level, "error") {
			continue
		}
		if text := strings.TrimSpace(line.Msg + line.Fields.Message); text != "" {
			return text
		}
	}
	return ""
}
