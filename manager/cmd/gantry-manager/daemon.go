package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/manager"
	"github.com/gantry-containers/gantry/manager/config"
)

// serve is the daemon, from its start to SIGTERM. There is nothing to do about limits: Go's runtime raises the soft
// number of open files to the hard one by itself, and gives children the one that it was started with.
func serve(c config.Config) error {
	start := time.Now()
	if err := startLog(os.Stderr, c.Debug); err != nil {
		return err
	}
	for _, w := range c.Warnings {
		slog.Warn(w)
	}
	// Modes of what is unpacked and of sockets are set one by one; what is left to the mask is for root to write.
	unix.Umask(0o022)
	if err := setOOMScore(c.OOMScore); err != nil {
		slog.Warn("oom_score is not set", "error", err)
	}
	if c.Cgroup != "" {
		if err := joinCgroup(c.Cgroup); err != nil {
			return err
		}
	}
	if err := calmSysmon(); err != nil {
		slog.Debug("Go's monitor thread wakes as often as it likes", "error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := handleSignals(cancel)
	defer stop()

	slog.Info("starting "+name, "version", version, "commit", commit, "root", c.Root, "state", c.State)
	return answer(ctx, c, start)
}

// answer listens, makes the manager and serves until ctx ends or a socket fails.
func answer(ctx context.Context, c config.Config, start time.Time) error {
	// First of all: who comes before the manager is there waits in the socket's queue instead of being refused.
	sockets, err := listen(c)
	if err != nil {
		return err
	}
	defer sockets.close()
	m, err := manager.New(ctx, c, manager.Build{Version: version, Commit: commit})
	if err != nil {
		return err
	}
	go trim(ctx)
	failed := make(chan error, 4)
	go func() { failed <- m.ServeTTRPC(sockets.ttrpc) }()
	if err := m.Load(ctx); err != nil {
		return errors.Join(err, m.Close())
	}
	go func() { failed <- m.Serve(sockets.grpc) }()
	if sockets.metrics != nil {
		go func() { failed <- serveHTTP(sockets.metrics, metricsHandler(m)) }()
	}
	if sockets.debug != nil {
		go func() { failed <- serveHTTP(sockets.debug, debugHandler()) }()
	}
	slog.Info(name+" answers", "address", c.GRPC.Address, "after", time.Since(start).Round(time.Microsecond).String())
	notify("READY=1")
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	notify("STOPPING=1")
	slog.Info("ending; containers go on")
	return errors.Join(err, m.Close())
}

// handleSignals ends ctx at SIGTERM and SIGINT and writes all stacks to the log at SIGUSR1. SIGPIPE is caught and
// forgotten, not ignored: children would inherit that.
func handleSignals(cancel context.CancelFunc) (stop func()) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				switch s {
				case unix.SIGUSR1:
					logStacks()
				case unix.SIGPIPE:
				default:
					slog.Info("signal", "name", s.String())
					cancel()
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// logStacks writes what every goroutine does.
func logStacks() {
	for size := 1 << 16; ; size *= 2 {
		stacks := make([]byte, size)
		if n := runtime.Stack(stacks, true); n < size {
			slog.Info("=== goroutines ===\n" + string(stacks[:n]) + "=== end ===")
			return
		}
	}
}

// setOOMScore tells the kernel how gladly to kill the daemon; 0 leaves it as it is.
func setOOMScore(score int) error {
	if score == 0 {
		return nil
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("oom_score %d: %w", score, err)
	}
	return nil
}
