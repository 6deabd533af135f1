package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says where a process's stdio goes: each a path of a fifo, a URL (file:///path, binary:///path?k=v,
// binary-v2:///path?k=v), or empty for /dev/null. With a terminal there is no Stderr.
type Spec struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
	UID, GID              int    // own the pipes: a container's root opens /dev/stdout anew
	ID, Namespace         string // for a logger's environment: CONTAINER_ID, CONTAINER_NAMESPACE
}

// IO is the stdio of one process.
type IO struct {
	proc    [3]*os.File // the process's ends, until Start; the last two may be one
	stdin   *stream
	outputs []*stream
	logger  *logger
	spare   *os.File // with a terminal: the logger's stderr, which has to stay open and gets nothing

	mu      sync.Mutex
	console *console // until Start
	master  *os.File // the terminal, from Start on
	started bool
	closed  bool
}

// Open opens what the spec names and starts the logger, if there is one. Dir is where a console socket is made.
func Open(ctx context.Context, spec Spec, dir string) (*IO, error) {
	o := &IO{}
	err := o.openInput(spec)
	if err == nil {
		err = o.openOutputs(ctx, spec, dir)
	}
	if err == nil && spec.Terminal {
		o.console, err = listenConsole(dir)
	}
	if err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// Files are what the process gets; nil is /dev/null. All are nil with a terminal.
func (o *IO) Files() (in, out, err *os.File) { return o.proc[0], o.proc[1], o.proc[2] }

// ConsoleSocket is the path for the runtime's --console-socket, empty without a terminal.
func (o *IO) ConsoleSocket() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.console == nil {
		return ""
	}
	return o.console.path
}

// Start begins to copy, once the runtime has made the process: it closes our side's Files, and with a terminal takes
// the master from the console socket.
func (o *IO) Start(ctx context.Context) error {
	o.mu.Lock()
	c, closed := o.console, o.closed
	o.mu.Unlock()
	if closed {
		return fmt.Errorf("stdio: %w", os.ErrClosed)
	}
	o.closeProc()
	var master *os.File
	if c != nil {
		var err error
		if master, err = c.receive(ctx); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.console = nil
	if o.closed { // meanwhile
		if master != nil {
			master.Close()
		}
		return fmt.Errorf("stdio: %w", os.ErrClosed)
	}
	if master != nil {
		o.attach(master)
	}
	o.started = true
	for _, s := range o.streams() {
		go s.run()
	}
	return nil
}

// attach puts the terminal at our end of every stream.
func (o *IO) attach(master *os.File) {
	o.master = master
	if o.stdin != nil {
		o.stdin.dst, o.stdin.toTerminal = master, true
	}
	for _, s := range o.outputs {
		s.src, s.fromTerminal = master, true
	}
}

// Resize sets the terminal's size; without a terminal it does nothing.
func (o *IO) Resize(width, height uint32) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.master == nil {
		return nil
	}
	size := &unix.Winsize{Col: uint16(width), Row: uint16(height)}
	if uint32(size.Col) != width || uint32(size.Row) != height {
		return fmt.Errorf("a terminal cannot have %d columns and %d rows", width, height)
	}
	err := control(o.master, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	if err != nil {
		return fmt.Errorf("terminal size: %w", err)
	}
	return nil
}

// CloseStdin gives the process the end of its input: when what is in the fifo has been read, and no client has the
// fifo open for writing any more. Until it is called a client may go away and another one go on.
func (o *IO) CloseStdin() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stdin == nil || o.stdin.keep == nil {
		return nil
	}
	if err := o.stdin.keep.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("stdin: %w", err)
	}
	return nil
}

// Exited says that the process is gone. Until then a terminal that nobody has open is not at its end: the process may
// open /dev/console again, as systemd does for every line.
func (o *IO) Exited() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.outputs {
		s.exited.Store(true)
	}
	if o.master != nil {
		_ = o.master.SetReadDeadline(time.Now()) // wakes the stream, which takes the deadline away again
	}
}

// Close ends the copying and closes everything; a logger gets its end and is waited for: here for half a second, and
// then by a goroutine that also ends it (WaitLoggers). It returns the errors that copying met.
func (o *IO) Close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	started := o.started
	if o.console != nil {
		o.console.close()
	}
	o.closeProc()
	streams := o.streams()
	for _, s := range streams {
		s.close()
	}
	if o.master != nil {
		o.master.Close()
	}
	if o.spare != nil {
		o.spare.Close()
	}
	o.mu.Unlock()

	var errs []error
	if started {
		for _, s := range streams {
			errs = append(errs, s.wait(time.Second))
		}
	}
	if o.logger != nil {
		o.logger.end(500 * time.Millisecond)
	}
	return errors.Join(errs...)
}

func (o *IO) closeProc() {
	for _, f := range o.proc {
		if f != nil {
			f.Close()
		}
	}
}

func (o *IO) streams() []*stream {
	if o.stdin == nil {
		return o.outputs
	}
	return append([]*stream{o.stdin}, o.outputs...)
}
