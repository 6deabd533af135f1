package keeper

import (
	"fmt"
	"strings"
	"time"
)

// Key names the streams of one process.
type Key struct {
	Container string
	// Exec is empty for the container's init.
	Exec string
}

// Streams is what the keeper needs to know about a process before it starts.
type Streams struct {
	Key
	// Stdin says that the process gets input; StdinOnce that its end is the end of the first client who sent some.
	Stdin, StdinOnce bool
	Terminal         bool
	// Log is nil for an exec, and for the driver none.
	Log *Log
}

// Log says how output is kept.
type Log struct {
	// Driver is json-file or local.
	Driver string
	// Path of the log file.
	Path string
	// Options are the driver's, checked before: max-size, max-file, compress, mode, max-buffer-size, labels …
	Options map[string]string
	// Attrs go into each entry ("attrs" of json-file): labels and environment that the options ask for.
	Attrs map[string]string
}

// Attach is what a client wants of a process's streams.
type Attach struct {
	Stdin, Stdout, Stderr bool
	// Mux frames output by stream (stdcopy); false for terminals.
	Mux bool
	// DetachKeys end the session and leave the process ("ctrl-p,ctrl-q" as bytes); empty for none.
	DetachKeys []byte
	// Head goes to the client before any output: it tells that the session has begun.
	Head []byte
	// Early is input that came with the request.
	Early []byte
}

// Paths are the FIFOs of a process; empty for those that it has not.
type Paths struct{ Stdin, Stdout, Stderr string }

// Ended is how a session of a client ended.
type Ended struct {
	// Detached says that the client typed the keys.
	Detached bool
}

// Notice is something that the keeper tells: the end of input came, and the process must be told by the manager.
type Notice struct {
	Key
	StdinClosed bool
}

// valid says no to what could lead out of the folder of the FIFOs.
func (k Key) valid() error {
	for _, s := range []string{k.Container, k.Exec} {
		if len(s) > 128 || strings.ContainsAny(s, "/\x00") || strings.HasPrefix(s, ".") {
			return fmt.Errorf("%q names no process", s)
		}
	}
	if k.Container == "" {
		return fmt.Errorf("no container is named")
	}
	return nil
}

func (k Key) String() string {
	if k.Exec == "" {
		return k.Container
	}
	return k.Container + "." + k.Exec
}

// What a request can ask for.
const (
	opHello    = "hello"
	opOpen     = "open"
	opAttach   = "attach"
	opDrained  = "drained"
	opClose    = "close"
	opHandOver = "hand over"
)

// Request is what an engine asks. A descriptor may come with it.
type Request struct {
	// ID comes back in the reply.
	ID      uint64
	Op      string
	Key     Key
	Streams *Streams      `json:",omitempty"`
	Attach  *Attach       `json:",omitempty"`
	Session string        `json:",omitempty"`
	Limit   time.Duration `json:",omitempty"`
}

// Reply is an answer, or (with ID zero) something that the keeper tells by itself.
type Reply struct {
	ID    uint64
	Error string `json:",omitempty"`
	Paths *Paths `json:",omitempty"`
	// Build and Pid are the keeper's, in the answer to hello; Sessions are those that live.
	Build    string   `json:",omitempty"`
	Pid      int      `json:",omitempty"`
	Sessions []string `json:",omitempty"`
	// Session is one that ended.
	Session  string  `json:",omitempty"`
	Detached bool    `json:",omitempty"`
	Notice   *Notice `json:",omitempty"`
}
