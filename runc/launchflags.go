package main

import (
	"os"
	"strconv"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// launchFlags are the flags of every command that makes a process.
func launchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "console-socket", Usage: "unix `SOCKET` that receives the master of the process's terminal"},
		&cli.StringFlag{Name: "pidfd-socket", Usage: "unix `SOCKET` that receives a pidfd of the process"},
		&cli.StringFlag{Name: "pid-file", Usage: "write the process id to `FILE`"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "pass on `N` descriptors from 3 on (create and run: beside those of $LISTEN_FDS)"},
	}
}

// containerFlags are what create and run share beside launchFlags.
func containerFlags() []cli.Flag {
	return append([]cli.Flag{
		bundleFlag(),
		&cli.StringFlag{Name: "config", Aliases: []string{"f"}, Usage: "`FILE` to read instead of the bundle's config.json"},
		boolFlag("move the root instead of pivot_root(2), which a ramdisk forbids", "no-pivot"),
		boolFlag("keep the caller's session keyring", "no-new-keyring"),
	}, launchFlags()...)
}

func bundleFlag() cli.Flag {
	return &cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "`DIR` of the bundle (default: the working directory)"}
}

// launchOptions reads launchFlags.
func launchOptions(c *cli.Context) (o libcontainer.LaunchOptions, err error) {
	for _, file := range []struct {
		flag string
		to   *string
	}{
		{"console-socket", &o.ConsoleSocket},
		{"pidfd-socket", &o.PidfdSocket},
		{"pid-file", &o.PidFile},
	} {
		if *file.to, err = absolute(c.String(file.flag)); err != nil {
			return o, fault.FlagFailed.At("--"+file.flag, err)
		}
	}
	if o.PreserveFDs = c.Int("preserve-fds"); o.PreserveFDs < 0 {
		return o, fault.Usage.Atf("--preserve-fds", "%d is negative", o.PreserveFDs)
	}
	return o, nil
}

// createOptions reads containerFlags, launchFlags and what a service manager hands down.
func createOptions(c *cli.Context) (*libcontainer.CreateOptions, error) {
	launch, err := launchOptions(c)
	if err != nil {
		return nil, err
	}
	bundle, err := bundleDir(c)
	if err != nil {
		return nil, err
	}
	config, err := absolute(c.String("config"))
	if err != nil {
		return nil, fault.FlagFailed.At("--config", err)
	}
	return &libcontainer.CreateOptions{
		LaunchOptions: launch,
		ID:            c.Args().First(),
		Bundle:        bundle,
		ConfigFile:    config,
		NoPivot:       c.Bool("no-pivot"),
		NoNewKeyring:  c.Bool("no-new-keyring"),
		NotifySocket:  os.Getenv("NOTIFY_SOCKET"),
		ListenFDs:     listenFDs(),
	}, nil
}

func bundleDir(c *cli.Context) (string, error) {
	dir := c.String("bundle")
	if dir == "" {
		dir = "."
	}
	dir, err := absolute(dir)
	if err != nil {
		return "", fault.FlagFailed.At("--bundle", err)
	}
	return dir, nil
}

// listenFDs is the number of sockets that a service manager passed to this very process,
// sd_listen_fds(3).
func listenFDs() int {
	count := os.Getenv("LISTEN_FDS")
	if count == "" || os.Getenv("LISTEN_PID") != strconv.Itoa(unix.Getpid()) {
		return 0
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
