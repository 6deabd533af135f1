package main

import (
	"log/slog"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/sigcatch"
)

// catchSignals acts upon the signals that are meant for a shim, from now on: it calls died when a child has ended, writes
// the stacks into the log, and passes on what asks for its end.
//
// os/signal would do so with three threads more, where three do everything else; and with a thousand containers, each new
// one's pivot_root(2) looks at every thread of the machine.
func catchSignals(died func()) (terminated <-chan unix.Signal, err error) {
	c, err := sigcatch.Start(unix.SIGCHLD, unix.SIGUSR1, unix.SIGTERM, unix.SIGINT)
	if err != nil {
		return nil, err
	}
	end := make(chan unix.Signal, 1)
	go func() {
		for buf := make([]byte, 64); ; {
			n, err := c.Read(buf)
			if err != nil {
				slog.Error("signals", "error", err)
				return
			}
			for _, number := range buf[:n] {
				act(unix.Signal(number), died, end)
			}
		}
	}()
	return end, nil
}

func act(s unix.Signal, died func(), end chan<- unix.Signal) {
	switch s {
	case unix.SIGCHLD:
		died()
	case unix.SIGUSR1:
		stacks := make([]byte, 1<<20)
		slog.Info(string(stacks[:runtime.Stack(stacks, true)]))
	default:
		select {
		case end <- s:
		default: // it ends already
		}
	}
}
