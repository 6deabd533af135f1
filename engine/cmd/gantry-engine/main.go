package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gantry-containers/gantry/engine"
	"github.com/gantry-containers/gantry/engine/cni"
	"github.com/gantry-containers/gantry/engine/config"
	"github.com/gantry-containers/gantry/engine/firewall/redirect"
	"github.com/gantry-containers/gantry/engine/keeper"
	"github.com/gantry-containers/gantry/engine/listen"
	"github.com/gantry-containers/gantry/engine/netkeeper"
)

// version and commit are set by the build.
var version, commit = "unknown", "unknown"

// standsFor is the moby release whose API we serve: clients compare versions, and mean that one's.
const standsFor = "29.7.0"

// usageStatus is dockerd's exit code for a command line that it does not understand.
const usageStatus = 125

func main() {
	if cni.Invoked(os.Args[0]) {
		os.Exit(cni.Main(os.Args[0]))
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case keeper.Argument:
			os.Exit(keeper.Main(os.Args[2:]))
		case netkeeper.Argument:
			os.Exit(netkeeper.Main(os.Args[2:], redirect.Names))
		}
	}
	name := filepath.Base(os.Args[0])
	err := run(name, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	if _, ok := errors.AsType[config.FlagError](err); ok {
		fmt.Fprintf(os.Stderr, "%v\nSee '%s --help'.\n", err, name)
		os.Exit(usageStatus)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func run(name string, args []string, stdout, stderr io.Writer) error {
	cmd, err := config.Load(name, args, os.Getenv)
	if err != nil {
		return err
	}
	switch {
	case cmd.Help:
		_, err := fmt.Fprintf(stdout, "Usage:  %s [OPTIONS]\n\nServes the Docker Engine API; containers outlive it.\n\nOptions:\n%s", name, cmd.Usage)
		return err
	case cmd.Version:
		_, err := fmt.Fprintf(stdout, "Docker version %s, build %s (Gantry)\n", version, commit)
		return err
	case cmd.Validate:
		_, err := fmt.Fprintln(stderr, "configuration OK")
		return err
	}
	engine.Log(cmd.Config)
	for _, s := range cmd.Ignored {
		slog.Warn("this setting of dockerd means nothing here", "setting", s)
	}
	return serve(cmd.Config, func() (*config.Command, error) { return config.Load(name, args, os.Getenv) })
}

// serve runs an engine until SIGTERM or SIGINT.
func serve(c *config.Config, again func() (*config.Command, error)) error {
	if os.Geteuid() != 0 {
		return errors.New("the engine needs to be started with root privileges")
	}
	syscall.Umask(0o022)
	keepDescriptors()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Clients that connect from here on wait until the engine is ready.
	listeners, err := listen.All(c)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	e, err := engine.New(ctx, c, engine.Build{Version: standsFor + "+gantry." + version, Commit: commit})
	if err != nil {
		return err
	}
	if err := e.Load(ctx); err != nil {
		return errors.Join(err, e.Close())
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	go func() {
		for range reload {
			cmd, err := again()
			if err != nil {
				slog.Error("the configuration cannot be reloaded", "error", err)
				continue
			}
			e.Reload(cmd.Config)
		}
	}()
	go trim(ctx)
	tell(daemon.SdNotifyReady)
	err = e.Serve(ctx, listeners)
	tell(daemon.SdNotifyStopping)
	return errors.Join(err, e.Close())
}

// keepDescriptors keeps what this process has inherited from those it starts: the manager, its shims and the keeper
// outlive it, and a lock of whoever started it would outlive it with them.
func keepDescriptors() {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		slog.Warn("descriptors may be inherited", "error", err)
		return
	}
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > syscall.Stderr {
			syscall.CloseOnExec(fd)
		}
	}
}

// tell tells systemd, if it started this engine as a service that does so.
func tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("systemd is not told", "state", state, "error", err)
	}
}
