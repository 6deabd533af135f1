package main

import (
	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// criuFlags are what checkpoint and restore share. Their names are CRIU's own, where it has
// the option.
func criuFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "image-path", Usage: "`DIR` of the image files (default: checkpoint in the working directory)"},
		&cli.StringFlag{Name: "work-path", Usage: "`DIR` of CRIU's log and other files (default: that of the images)"},
		boolFlag("allow open TCP connections", "tcp-established"),
		boolFlag("allow unix sockets with a peer outside", "ext-unix-sk"),
		boolFlag("allow a terminal of the caller", "shell-job"),
		boolFlag("allow file locks", "file-locks"),
		boolFlag("serve memory on demand", "lazy-pages"),
		&cli.StringFlag{Name: "manage-cgroups-mode", Usage: "what CRIU does about cgroups: `MODE` is soft (its default), full, strict or ignore"},
		&cli.StringSliceFlag{Name: "empty-ns", Usage: "leave out what is in the `NAMESPACE`: network"},
		boolFlag("free memory in the images that a later dump has, too", "auto-dedup"),
	}
}

func criuOptions(c *cli.Context) (o libcontainer.CriuOptions, err error) {
	images := c.String("image-path")
	if images == "" {
		images = "checkpoint"
	}
	if o.ImagePath, err = absolute(images); err != nil {
		return o, fault.FlagFailed.At("--image-path", err)
	}
	if o.WorkPath, err = absolute(c.String("work-path")); err != nil {
		return o, fault.FlagFailed.At("--work-path", err)
	}
	o.TCPEstablished = c.Bool("tcp-established")
	o.ExtUnixSockets = c.Bool("ext-unix-sk")
	o.ShellJob = c.Bool("shell-job")
	o.FileLocks = c.Bool("file-locks")
	o.LazyPages = c.Bool("lazy-pages")
	o.AutoDedup = c.Bool("auto-dedup")
	o.ManageCgroups = c.String("manage-cgroups-mode")
	for _, kind := range c.StringSlice("empty-ns") {
		if kind != "network" {
			return o, fault.Usage.Atf("--empty-ns", "namespace %q is not supported, only network is", kind)
		}
		o.EmptyNetwork = true
	}
	return o, nil
}
