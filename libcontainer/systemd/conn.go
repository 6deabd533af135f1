package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/gvariant"
	"github.com/gantry-containers/gantry/libcontainer/internal/poller"
)

// conn is a connection to a D-Bus peer: a service manager itself, or a bus.
type conn struct {
	file   *os.File
	serial uint32
	in     []byte // received and not used yet
	// removed are the jobs that ended, as far as nobody asked for them yet.
	removed []job
}

// job is what a JobRemoved signal tells.
type job struct{ path, result string }

// dial connects to a socket: an absolute path, or an abstract name that begins with "@".
func dial(address string, timeout time.Duration) (*conn, error) {
	if err := poller.Open(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := connect(fd, address, timeout); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	c := &conn{file: os.NewFile(uintptr(fd), address)}
	if err := c.file.SetDeadline(time.Now().Add(timeout)); err == nil {
		err = c.authenticate()
		if err == nil {
			return c, nil
		}
		c.close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	c.close()
	return nil, fmt.Errorf("%s: no deadline can be set", address)
}

// connect waits for a place in the peer's queue: a socket that does not block answers
// EAGAIN while that is full, connect(2).
func connect(fd int, address string, timeout time.Duration) error {
	for end := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: address})
		if err == nil {
			return nil
		}
		if err != unix.EAGAIN && err != unix.EINTR || time.Now().After(end) {
			return err
		}
	}
}

func (c *conn) close() { c.file.Close() }

// within sets the time that the next calls may take in all.
func (c *conn) within(d time.Duration) { _ = c.file.SetDeadline(time.Now().Add(d)) }

// authenticate says who we are by the mechanism EXTERNAL: the peer sees it in the socket's
// credentials. No uid is named, as ours may have another number in the peer's user
// namespace; a peer asks for it by DATA, and takes an empty answer.
//
// The question about descriptors is there for its answer, whatever that is: it tells that
// the peer has read BEGIN, which came with it. What follows BEGIN too closely is read by
// systemd with the same read(2), put aside, and not looked at before something else comes.
func (c *conn) authenticate() error {
	const begin = "NEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
	line, err := c.ask("\x00AUTH EXTERNAL\r\n")
	if err == nil && line == "DATA" {
		if line, err = c.ask("DATA\r\n" + begin); err == nil && strings.HasPrefix(line, "OK") {
			_, err = c.line()
		}
	} else if err == nil && strings.HasPrefix(line, "OK") {
		_, err = c.ask(begin)
	}
	if err == nil && !strings.HasPrefix(line, "OK") {
		err = fmt.Errorf("authentication: %s: %w", line, unix.EACCES)
	}
	return err
}

// ask writes lines and reads the answer to the first.
func (c *conn) ask(lines string) (string, error) {
	if err := c.write([]byte(lines)); err != nil {
		return "", err
	}
	return c.line()
}

func (c *conn) line() (string, error) {
	const longest = 4096
	for {
		if before, after, ok := bytes.Cut(c.in, []byte("\r\n")); ok {
			c.in = after
			return strings.TrimSpace(string(before)), nil
		}
		if len(c.in) > longest {
			return "", errMalformed
		}
		if err := c.fill(); err != nil {
			return "", err
		}
	}
}

func (c *conn) write(b []byte) error {
	_, err := c.file.Write(b)
	return bare(err)
}

// fill reads more of what was sent.
func (c *conn) fill() error {
	var buf [8192]byte
	n, err := c.file.Read(buf[:])
	c.in = append(c.in, buf[:n]...)
	if n > 0 {
		return nil
	}
	return bare(err)
}

// errTimeout says that nobody answered in time.
var errTimeout = errors.New("no answer in time")

// bare takes the name of the file off an error.
func bare(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errTimeout
	}
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// receive returns the next message.
func (c *conn) receive() (*message, error) {
	for len(c.in) < fixedHeader {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	total, err := length(c.in)
	if err != nil {
		return nil, err
	}
	for len(c.in) < total {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	m, err := decode(c.in[:total])
	c.in = c.in[total:]
	return m, err
}

// Error is a refusal by the peer.
type Error struct {
	Name    string // such as "org.freedesktop.systemd1.NoSuchUnit"
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// method is what can be called: an object's path, its interface and the member.
type method struct{ destination, path, iface, name string }

// call calls a method and waits for what it returns.
func (c *conn) call(to method, args ...gvariant.Value) ([]gvariant.Value, error) {
	c.serial++
	m := message{
		kind: methodCall, serial: c.serial,
		destination: to.destination, path: to.path, iface: to.iface, member: to.name, body: args,
	}
	if err := c.write(m.encode()); err != nil {
		return nil, fmt.Errorf("%s: %w", to.name, err)
	}
	for {
		reply, err := c.receive()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", to.name, err)
		}
		c.note(reply)
		if reply.replyTo != m.serial {
			continue
		}
		switch reply.kind {
		case methodReturn:
			return reply.body, nil
		case errorReply:
			e := &Error{Name: reply.errorName}
			if len(reply.body) > 0 {
				e.Message = reply.body[0].Text
			}
			return nil, fmt.Errorf("%s: %w", to.name, e)
		}
	}
}

// note remembers the end of a job: the signal may come before anybody waits for it.
func (c *conn) note(m *message) {
	if m.kind == signalSent && m.member == "JobRemoved" && len(m.body) == 4 {
		c.removed = append(c.removed, job{m.body[1].Text, m.body[3].Text})
	}
}

// wait waits for the end of a job and returns how it went: "done", or why not.
func (c *conn) wait(path string) (result string, err error) {
	for {
		for _, j := range c.removed {
			if j.path == path {
				return j.result, nil
			}
		}
		c.removed = c.removed[:0]
		m, err := c.receive()
		if err != nil {
			return "", err
		}
		c.note(m)
	}
}

// busAddress finds the first unix socket in a list of D-Bus addresses, "unix:path=/x;…".
func busAddress(list string) string {
	for address := range strings.SplitSeq(list, ";") {
		options, ok := strings.CutPrefix(address, "unix:")
		if !ok {
			continue
		}
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			switch key {
			case "path":
				return unescape(value)
			case "abstract":
				return "@" + unescape(value)
			}
		}
	}
	return ""
}

// unescape undoes the %-escapes of an address.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
