package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/shim/events"
	"github.com/gantry-containers/gantry/shim/reap"
	"github.com/gantry-containers/gantry/shim/sandbox"
	"github.com/gantry-containers/gantry/shim/stdio"
	"github.com/gantry-containers/gantry/shim/task"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// collectAt is the garbage collector's target: little is live, so a collection costs little, and what is not collected
// is held for as long as the container lives.
const collectAt = 25

// processName is what ps and pgrep know every shim by; the kernel calls what is started from /proc/self/exe "exe".
const processName = "containerd-shim"

// serve is the shim itself: it answers the daemon until the last container has gone and the daemon has said so. It is
// started by the start action, or, as the action serve, by a daemon that has made the socket itself.
func serve(f flags) error {
	debug.SetGCPercent(collectAt)
	logTo(fifo(2), f.debug)
	calmSysmon()
	if f.action == "serve" {
		if err := raiseOOMScore(); err != nil {
			return err
		}
	}
	signal.Ignore(unix.SIGPIPE) // the reader of the log may go away
	if err := os.WriteFile("/proc/self/comm", []byte(processName), 0); err != nil {
		return err
	}
	if err := reap.Subreaper(); err != nil {
		return err
	}
	terminated, err := catchSignals(reap.Orphans())
	if err != nil {
		return err
	}
	listener, err := inheritedListener()
	if err != nil {
		return err
	}
	quit := make(chan struct{})
	publisher := newPublisher(f)
	tasks := &task.Service{
		Namespace: f.namespace,
		Events:    publisher,
		Quit:      sync.OnceFunc(func() { close(quit) }),
	}
	pods := &sandbox.Service{Namespace: f.namespace, Released: tasks.Leave}
	tasks.Busy, tasks.Furnish = pods.Active, pods.Furnish
	server := ttrpc.NewServer()
	idle := newTrimmer()
	methods := idle.watch(tasks.Methods())
	for _, name := range task.Names {
		server.Register(name, methods)
	}
	server.Register(sandbox.Name, idle.watch(pods.Methods()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	patience := hangUpTime
	select {
	case err = <-ended:
	case <-quit:
	case s := <-terminated:
		patience = 0
		slog.Info("ending", "signal", s)
	case <-unwanted(tasks):
		slog.Info("ending: no daemon has asked for a container")
	}
	tasks.Close()
	return errors.Join(err, leave(f, server, publisher, patience))
}

// unwantedAfter is how long a daemon may take to create something in the shim that it has started: it does so at once.
const unwantedAfter = time.Minute

// unwanted tells when it is clear that the daemon was killed before it could. One of 1.6 connects again when it
// is back, and keeps a shim without a task for ever.
func unwanted(tasks *task.Service) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(unwantedAfter, func() {
		if !tasks.Wanted() {
			close(c)
		}
	})
	return c
}

// inheritedListener is the socket that `start` has made.
func inheritedListener() (*net.UnixListener, error) {
	f := os.NewFile(3, "socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("file 3 is not the socket that start makes: %w", err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("file 3 is a socket of %s", l.Addr().Network())
	}
	return unixListener, nil
}

// hangUpTime is how long the daemon may take to close its connection, when it has got its last answer: as long as
// containerd waits for that answer.
const hangUpTime = 3 * time.Second

// leave ends the service: the socket goes first, while it is surely this server's; the daemon gets its events, however
// long that takes, and its answer; then nobody waits for one any more.
func leave(f flags, server *ttrpc.Server, publisher *events.Publisher, patience time.Duration) error {
	err := os.Remove(f.socket)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	publisher.Hurry()
	err = errors.Join(err, publisher.Drain(context.Background()))
	server.AwaitHangUps(patience)
	server.Close()
	stdio.WaitLoggers(context.Background()) // it ends those that do not end
	return err
}

// quiet is how long the shim must be idle before its memory is given back: a container that ends before does not pay
// for it.
const quiet = 500 * time.Millisecond

// worthCollecting is the heap, in bytes, from which on a collection gives back more than it costs: the first one makes
// workers and buffers of some 200 KiB, which stay.
const worthCollecting = 1 << 20

// trimmer gives the kernel back what the calls have used, when there are none for a while.
type trimmer struct{ timer *time.Timer }

func newTrimmer() *trimmer { return &trimmer{time.AfterFunc(quiet, trim)} }

func trim() {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	if metrics.Read(heap); heap[0].Value.Uint64() >= worthCollecting {
		debug.FreeOSMemory()
	}
}

// watch makes the methods tell when they have answered.
func (t *trimmer) watch(methods map[string]ttrpc.Method) map[string]ttrpc.Method {
	watched := make(map[string]ttrpc.Method, len(methods))
	for name, method := range methods {
		watched[name] = func(ctx context.Context, payload []byte) (ttrpc.Message, error) {
			defer t.timer.Reset(quiet)
			return method(ctx, payload)
		}
	}
	return watched
}
