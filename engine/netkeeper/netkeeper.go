// Package netkeeper is the one process that holds published ports and answers containers' questions for names. It
// outlives the engine and the manager, and can hand everything to another build of itself without a closed connection.
package netkeeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gantry-containers/gantry/engine/nameserver"
	"github.com/gantry-containers/gantry/engine/outlive"
	"github.com/gantry-containers/gantry/engine/poll"
	"github.com/gantry-containers/gantry/engine/ports"
)

// Argument is the first argument of the hidden mode.
const Argument = "netkeeper"

// idleLimit is how long a netkeeper stays that has nothing to do and whose engine has gone.
const idleLimit = 2 * time.Second

// Socket is where a netkeeper listens, in its state folder.
func Socket(dir string) string { return outlive.Socket(dir, Argument) }

// Main is the netkeeper process: it serves the socket of a state folder until it has nothing to do. It returns the exit
// status.
func Main(args []string, redirect nameserver.Redirect) int {
	return outlive.Main(Argument, args, func(p outlive.Process) error {
		k, err := newKeeper(p.Dir, outlive.Build(), redirect)
		if err != nil {
			return err
		}
		l, err := k.listen(p.TakeOver)
		if err != nil {
			return err
		}
		p.Ready()
		return k.serve(l)
	})
}

// keeper is everything that the process keeps.
type keeper struct {
	dir, build string
	loop       *poll.Loop
	ports      *ports.Ports
	names      *nameserver.Server

	// ops is held for reading by every request, for writing while everything is handed over.
	ops sync.RWMutex
	// listener is what serve serves.
	listener *net.UnixListener

	mu      sync.Mutex
	engines int
	idle    *time.Timer

	// leave is closed when there is nothing to do any more.
	leave    chan struct{}
	quitOnce sync.Once
}

func newKeeper(dir, build string, redirect nameserver.Redirect) (*keeper, error) {
	loop, err := poll.New()
	if err != nil {
		return nil, err
	}
	k := &keeper{
		dir: dir, build: build, loop: loop, ports: ports.New(loop), names: nameserver.New(loop, redirect),
		leave: make(chan struct{}),
	}
	k.idle = time.AfterFunc(idleLimit, k.leaveIdle)
	return k, nil
}

func (k *keeper) listen(takeOver bool) (*net.UnixListener, error) {
	if takeOver {
		return k.takeOver()
	}
	return outlive.Listen(Socket(k.dir))
}

// serve answers engines until there is nothing to do, and does what they asked for.
func (k *keeper) serve(l *net.UnixListener) error {
	k.listener = l
	failed := make(chan error, 1)
	go func() { failed <- k.loop.Run() }()
	k.names.Start()
	go k.accept(l, failed)
	select {
	case err := <-failed:
		return err
	case <-k.leave:
		return nil
	}
}

// accept lets engines in.
func (k *keeper) accept(l *net.UnixListener, failed chan<- error) {
	for {
		conn, err := l.AcceptUnix()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			k.ops.RLock() // As long as everything is handed over: then there is the next one, or it has failed.
			k.ops.RUnlock()
			continue
		case err != nil:
			failed <- err
			return
		}
		if err := outlive.Trusted(conn); err != nil {
			slog.Warn("a stranger is turned away", "error", err)
			conn.Close()
			continue
		}
		go k.hear(conn)
	}
}

// hear answers an engine's requests, one after the other.
func (k *keeper) hear(conn *net.UnixConn) {
	k.come()
	defer k.gone()
	defer conn.Close()
	w := outlive.NewWire(conn)
	for {
		var r request
		fds, err := w.Receive(&r)
		if err != nil {
			return
		}
		outlive.CloseAll(fds)
		if r.Op == opHandOver {
			if k.handOver(w) {
				k.quit()
			}
			return
		}
		if w.Send(k.answer(r)) != nil {
			return
		}
	}
}

func (k *keeper) answer(r request) reply {
	k.ops.RLock()
	defer k.ops.RUnlock()
	answer := reply{ID: r.ID}
	err := k.do(r, &answer)
	if err == nil {
		return answer
	}
	if inUse, ok := errors.AsType[*ports.InUseError](err); ok {
		answer.InUse = inUse
	}
	answer.Error = err.Error()
	slog.Warn("a request failed", "op", r.Op, "owner", r.Owner, "error", err)
	return answer
}

func (k *keeper) do(r request, answer *reply) (err error) {
	switch r.Op {
	case opHello:
		answer.Build, answer.Pid = k.build, os.Getpid()
	case opPublish:
		answer.Ports, err = k.ports.Publish(r.Owner, r.Call, r.Ports)
	case opUnpublish:
		k.ports.Unpublish(r.Owner, r.Ports)
	case opAnswer:
		if r.Sandbox == nil {
			return errors.New("no sandbox is named")
		}
		return k.names.Answer(*r.Sandbox)
	case opForget:
		k.names.Forget(r.Owner)
	case opList:
		answer.List = &List{Ports: k.ports.List(), Sandboxes: k.names.List()}
	default:
		return fmt.Errorf("%q is not known", r.Op)
	}
	return err
}

func (k *keeper) come() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.engines++
}

func (k *keeper) gone() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.engines--; k.engines == 0 {
		k.idle.Reset(idleLimit)
	}
}

// leaveIdle ends the process when no engine is there and nothing is held for one.
func (k *keeper) leaveIdle() {
	k.ops.RLock()
	defer k.ops.RUnlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.engines == 0 && len(k.ports.List()) == 0 && len(k.names.List()) == 0 {
		k.quit()
	}
}

func (k *keeper) quit() { k.quitOnce.Do(func() { close(k.leave) }) }
