package task

import (
	"sync"
	"time"

	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/stdio"
)

// process is the init process of a container, or one that Exec has added.
type process struct {
	c       *container
	execID  string // empty for the init process
	spec    []byte // of one of Exec: the process object of the OCI's spec
	streams stdio.Spec

	done chan struct{} // closed when its exit has been told

	mu       sync.Mutex
	status   tasktypes.Status // CREATED, RUNNING or STOPPED; the container may be paused beside
	starting chan struct{}    // closed when the Start that is under way has told of it, or failed; nil if none is
	pid      int
	handle   *reap.Process
	io       *stdio.IO
	inputEnd bool // CloseIO came; before io it does if the client has written to the fifo while Start opens the rest
	code     int
	exitedAt time.Time
}

func newProcess(c *container, execID string, streams stdio.Spec) *process {
	return &process{c: c, execID: execID, streams: streams, done: make(chan struct{}), status: tasktypes.Status_CREATED}
}

func (p *process) isInit() bool { return p.execID == "" }

// eventID is what events call the process: the init process has its container's id.
func (p *process) eventID() string {
	if p.isInit() {
		return p.c.id
	}
	return p.execID
}

func (p *process) currentPid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func (p *process) currentStatus() tasktypes.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

func (p *process) stdio() *stdio.IO {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.io
}

func (p *process) setIO(io *stdio.IO) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.io = io
	if p.inputEnd {
		return io.CloseStdin()
	}
	return nil
}

// closeStdin ends the process's input, now or as soon as there is one.
func (p *process) closeStdin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inputEnd = true
	if p.io == nil {
		return nil
	}
	return p.io.CloseStdin()
}

// run notes that the process is there, and watches it.
func (p *process) run(handle *reap.Process) {
	p.mu.Lock()
	p.pid, p.handle = handle.Pid, handle
	p.mu.Unlock()
	go p.watch()
}

// beginStart lets one Start in, if the process waits for it.
func (p *process) beginStart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting != nil || p.status != tasktypes.Status_CREATED {
		return p.precondition("start")
	}
	p.starting = make(chan struct{})
	return nil
}

// endStart lets the exit, if there was one, be told.
func (p *process) endStart(started bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if started && p.status == tasktypes.Status_CREATED {
		p.status = tasktypes.Status_RUNNING
	}
	close(p.starting)
	p.starting = nil
}

// startUnderWay returns what is closed when no Start is.
func (p *process) startUnderWay() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starting
}
