// Package criu runs CRIU, the program that dumps processes to files and makes them anew
// (criu.org), and speaks with it: one request, notifications while CRIU is at it, one
// response. It knows nothing of containers.
package criu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// Call is a request to CRIU.
type Call struct {
	Type    Type
	Options *Options // of Dump, PreDump and Restore
	// Files are passed on as descriptors 4, 5, … : what Options.InheritFDs may name beside
	// 0, 1 and 2.
	Files []*os.File
	// Stdio gives CRIU the caller's stdin, stdout and stderr, for who it makes to inherit.
	Stdio bool
	// Start forks CRIU, for a caller that has to choose the thread; nil for any.
	Start func(*exec.Cmd) error
	// Started is called with CRIU's pid before it gets the request; may be nil.
	Started func(pid int) error
	// Notify is called at each step of which CRIU tells; nil accepts them all. An error makes
	// CRIU give up, and is what Do returns.
	Notify func(*Notification) error
	// Log is where CRIU writes its log, named in errors; "" for nowhere.
	Log string

	feature Feature // of featureCheck
}

// FirstFile is the number in CRIU of the first of Call.Files: 3 is its socket.
const FirstFile = 4

// Notification tells of a step.
type Notification struct {
	Script string // the step's name, as CRIU's action scripts know it
	PID    int    // of the process that was restored, where there is one
	FD     int    // a descriptor that came along; -1 for none. It is closed after Notify.
}

// Do runs CRIU and returns its response. A refusal by CRIU is a *Error.
func (c *Call) Do() (*Response, error) {
	path, err := exec.LookPath("criu")
	if err != nil {
		return nil, &MissingError{err}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("criu: socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "criu")
	cmd := exec.Command(path, "swrk", strconv.Itoa(FirstFile-1)) //nolint:forbidigo // CRIU is one of the few programs that are run
	if c.Stdio {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	cmd.ExtraFiles = append([]*os.File{theirs}, c.Files...)
	start := c.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	err = start(cmd)
	_ = theirs.Close()
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, err
	}
	resp, err := c.converse(pair[0], cmd.Process.Pid)
	// The end of the connection ends a CRIU that waits for more.
	_ = unix.Close(pair[0])
	state, waitErr := cmd.Process.Wait()
	if errors.Is(err, errHungUp) && waitErr == nil {
		err = c.failure(resp, "ended with "+state.String())
	}
	return resp, err
}

// converse sends the request and answers notifications until the response.
func (c *Call) converse(socket, pid int) (*Response, error) {
	if c.Started != nil {
		if err := c.Started(pid); err != nil {
			return nil, err
		}
	}
	if err := send(socket, c.request()); err != nil {
		return nil, err
	}
	var refusal error // of Notify
	for {
		resp, fd, err := receive(socket)
		if err != nil {
			return nil, errors.Join(refusal, err)
		}
		if resp.Type != notifyType || !resp.Success {
			return resp, c.verdict(resp, refusal)
		}
		if err := c.notify(resp, fd); err != nil {
			refusal = err
		}
		var answer message
		answer.integer(1, int(notifyType), true)
		if answer.flag(3, refusal == nil); refusal != nil {
			answer.integer(3, 0, true)
		}
		if err := send(socket, answer); err != nil {
			return nil, errors.Join(refusal, err)
		}
	}
}

// request is the message criu_req of rpc.proto.
func (c *Call) request() message {
	var m message
	m.integer(1, int(c.Type), true)
	if c.Options != nil {
		m.bytes(2, c.Options.encode())
	}
	if c.feature != 0 {
		var ask message
		ask.integer(int(c.feature), 1, true)
		m.bytes(5, ask)
	}
	return m
}

func (c *Call) notify(resp *Response, fd int) error {
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if c.Notify == nil {
		return nil
	}
	return c.Notify(&Notification{Script: resp.script, PID: resp.PID, FD: fd})
}

// verdict judges the response.
func (c *Call) verdict(resp *Response, refusal error) error {
	switch {
	case refusal != nil:
		return refusal
	case !resp.Success:
		return c.failure(resp, resp.Text)
	case resp.Type != c.Type:
		return c.failure(resp, "unexpected response")
	}
	return nil
}

// failure is the error for a request that CRIU did not fulfil.
func (c *Call) failure(resp *Response, text string) error {
	e := &Error{Type: c.Type, Text: text, Log: c.Log}
	if resp != nil {
		e.Type, e.Errno = resp.Type, resp.Errno
	}
	last := lastError(c.Log)
	switch {
	case last == "":
	case resp == nil:
		e.Text += ": " + last
	default:
		e.Text = last
	}
	return e
}
