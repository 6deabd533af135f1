package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gantry-containers/gantry/engine/outlive"
)

// stallLimit is how long a client who is attached may take nothing before the container goes on without it.
const stallLimit = 30 * time.Second

// idleLimit is how long a keeper stays that has nothing to keep and whose engine has gone.
const idleLimit = 2 * time.Second

// Keeper is everything that the process keeps.
type Keeper struct {
	// dir has the FIFOs.
	dir   string
	build string
	stall time.Duration

	// ops is held for reading by every request, for writing while the keeper is handed over.
	ops sync.RWMutex
	// pausing is set, and pause closed, when everything has to stop for that; running counts what has to.
	pausing atomic.Bool
	pause   chan struct{}
	running sync.WaitGroup
	// listener is what Serve serves; resumed tells it that a hand-over has failed.
	listener *net.UnixListener
	resumed  chan struct{}

	mu    sync.Mutex
	procs map[Key]*process

	// Nothing else is locked under engineMu.
	engineMu sync.Mutex
	engines  map[*engine]struct{}

	// leave is closed when there is nothing to keep any more.
	leave    chan struct{}
	quitOnce sync.Once
	idle     *time.Timer
}

// New is a keeper whose FIFOs are in a folder, which is made.
func New(dir, build string) (*Keeper, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	k := &Keeper{
		dir: dir, build: build, stall: stallLimit, pause: make(chan struct{}), resumed: make(chan struct{}, 1),
		procs: map[Key]*process{}, engines: map[*engine]struct{}{}, leave: make(chan struct{}),
	}
	k.idle = time.AfterFunc(idleLimit, k.leaveIdle)
	return k, nil
}

// engine is a connected engine.
type engine struct {
	wire *outlive.Wire
	// out has what waits to be sent; an engine that does not read is cut off when it is full.
	out chan Reply
}

func (e *engine) send(r Reply) {
	select {
	case e.out <- r:
	default:
		e.wire.Close()
	}
}

// Serve answers engines until the listener is closed or there is nothing to keep.
func (k *Keeper) Serve(l *net.UnixListener) error {
	k.listener = l
	go func() {
		<-k.leave
		l.Close()
	}()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			select {
			case <-k.leave:
				return nil
			case <-k.resumed:
				continue
			}
		case err != nil:
			return err
		}
		if err := outlive.Trusted(conn); err != nil {
			slog.Warn("a stranger is turned away", "error", err)
			conn.Close()
			continue
		}
		go k.serve(conn)
	}
}

func (k *Keeper) serve(conn *net.UnixConn) {
	e := &engine{wire: outlive.NewWire(conn), out: make(chan Reply, 4096)}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case r := <-e.out:
				if e.wire.Send(r) != nil {
					e.wire.Close()
					return
				}
			case <-done:
				return
			}
		}
	}()
	defer k.gone(e)
	defer close(done)
	defer conn.Close()
	for {
		var r Request
		fds, err := e.wire.Receive(&r)
		if err != nil {
			return
		}
		switch r.Op {
		case opAttach:
			e.send(k.answer(r, fds)) // In order: who attaches wants the output that follows.
		case opHello:
			e.send(Reply{ID: r.ID, Build: k.build, Pid: os.Getpid(), Sessions: k.welcome(e)})
		case opHandOver:
			if k.handOver(e.wire) {
				k.quit()
			}
			return
		default:
			go func() { e.send(k.answer(r, fds)) }()
		}
	}
}

func (k *Keeper) answer(r Request, fds []int) Reply {
	k.ops.RLock()
	defer k.ops.RUnlock()
	reply := Reply{ID: r.ID}
	err := r.Key.valid()
	if err == nil {
		err = k.do(r, &fds, &reply)
	}
	outlive.CloseAll(fds)
	if err != nil {
		slog.Warn("a request failed", "op", r.Op, "process", r.Key.String(), "error", err)
		reply.Error = err.Error()
	}
	return reply
}

func (k *Keeper) do(r Request, fds *[]int, reply *Reply) error {
	switch r.Op {
	case opOpen:
		if r.Streams == nil {
			return errors.New("nothing is asked for")
		}
		r.Streams.Key = r.Key
		return k.open(*r.Streams, reply)
	case opAttach:
		return k.attach(r, fds)
	case opDrained:
		if p := k.find(r.Key); p != nil {
			return p.drain(r.Limit)
		}
	case opClose:
		if p := k.find(r.Key); p != nil {
			return p.close()
		}
	default:
		return fmt.Errorf("%q is not known", r.Op)
	}
	return nil
}

func (k *Keeper) open(s Streams, reply *Reply) error {
	for {
		p := k.process(s.Key)
		paths, err := p.open(s)
		if errors.Is(err, errForgotten) {
			continue
		}
		reply.Paths = &paths
		if err != nil {
			k.forgetIdle(p)
		}
		return err
	}
}

func (k *Keeper) attach(r Request, fds *[]int) error {
	if r.Attach == nil || len(*fds) != 1 || r.Session == "" {
		return errors.New("a session and its connection are needed")
	}
	fd := (*fds)[0]
	*fds = nil
	s, err := newSession(r.Session, *r.Attach, fd)
	if err != nil {
		return err
	}
	for !k.process(r.Key).attach(s) {
	}
	return nil
}

// process finds or makes.
func (k *Keeper) process(key Key) *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.procs[key]
	if p == nil {
		p = &process{k: k, key: key}
		k.procs[key] = p
	}
	return p
}

func (k *Keeper) find(key Key) *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.procs[key]
}

// welcome begins to tell an engine what happens, and says which sessions live and which inputs have ended.
func (k *Keeper) welcome(e *engine) (sessions []string) {
	k.engineMu.Lock()
	k.engines[e] = struct{}{}
	k.engineMu.Unlock()
	k.mu.Lock()
	procs := make([]*process, 0, len(k.procs))
	for _, p := range k.procs {
		procs = append(procs, p)
	}
	k.mu.Unlock()
	for _, p := range procs {
		p.mu.Lock()
		for _, s := range p.sessions {
			sessions = append(sessions, s.id)
		}
		if p.in != nil && p.in.closed() {
			e.send(Reply{Notice: &Notice{Key: p.key, StdinClosed: true}})
		}
		p.mu.Unlock()
	}
	return sessions
}

func (k *Keeper) gone(e *engine) {
	k.engineMu.Lock()
	defer k.engineMu.Unlock()
	delete(k.engines, e)
	if len(k.engines) == 0 {
		k.idle.Reset(idleLimit)
	}
}

// notify tells all engines.
func (k *Keeper) notify(n Notice) { k.tell(Reply{Notice: &n}) }

func (k *Keeper) sessionEnded(id string, detached bool) {
	k.tell(Reply{Session: id, Detached: detached})
}

func (k *Keeper) tell(r Reply) {
	k.engineMu.Lock()
	defer k.engineMu.Unlock()
	for e := range k.engines {
		e.send(r)
	}
}

// forgetIdle forgets a process that has neither streams nor clients.
func (k *Keeper) forgetIdle(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if k.procs[p.key] == p && p.idle() {
		p.forgotten = true
		delete(k.procs, p.key)
	}
}

// leaveIdle ends the keeper when no engine is there and no process has anything to say any more.
func (k *Keeper) leaveIdle() {
	k.engineMu.Lock()
	wanted := len(k.engines) > 0
	k.engineMu.Unlock()
	if wanted {
		return // Asked again when the last one goes.
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.procs {
		if p.busy() {
			k.idle.Reset(idleLimit)
			return
		}
	}
	k.quit()
}

// quit ends the keeper.
func (k *Keeper) quit() { k.quitOnce.Do(func() { close(k.leave) }) }

// Socket is where a keeper listens, in its state folder.
func Socket(dir string) string { return outlive.Socket(dir, Argument) }
