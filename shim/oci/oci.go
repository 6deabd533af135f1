package oci

import (
	"errors"
	"os"
)

// Runtime is a runtime binary, and what all its commands are given. Its methods may be called at the same time, also
// by several processes for one container.
type Runtime struct {
	Binary        string // a path, or a name in PATH
	Root          string // --root: where it keeps its state
	Log           string // --log: each call has a file of its own beside this one; that of the last call that failed is kept here
	Dir           string // the working directory: the bundle, as every shim for runc has it; the shim's own if empty
	SystemdCgroup bool   // --systemd-cgroup
}

// The reasons of a failure that callers act on; they are found by the runtime's words, for there is nothing else.
var (
	ErrNotFound   = errors.New("container does not exist")
	ErrNotRunning = errors.New("container not running")
	ErrFinished   = errors.New("process already finished")
)

// ErrNoAnswer is in the error of a call whose context ended before the runtime did. The runtime has been killed: what
// it was about to do may be half done.
var ErrNoAnswer = errors.New("the runtime did not answer")

// ErrNoRuntime is in the error of a call whose Binary is not there, or is no program.
var ErrNoRuntime = errors.New("no OCI runtime")

// Stdio is what a process gets as its first three files. Nil is /dev/null.
type Stdio struct{ In, Out, Err *os.File }

// CreateOptions are the flags of create and restore.
type CreateOptions struct {
	Bundle, PidFile, ConsoleSocket string
	NoPivot, NoNewKeyring          bool
	Stdio                          Stdio
}

// ExecOptions are the flags of exec.
type ExecOptions struct {
	Process, PidFile, ConsoleSocket string // Process is a file with the spec's process object
	Stdio                           Stdio
}

// CheckpointOptions are the flags of checkpoint.
type CheckpointOptions struct {
	Images, Work, Parent                  string
	TCP, UnixSockets, Terminal, FileLocks bool
	LeaveRunning                          bool
	CgroupsMode                           string
	EmptyNamespaces                       []string
}

// RestoreOptions are those of restore beside create's.
type RestoreOptions struct {
	CreateOptions
	Images, Work, Parent string
}
