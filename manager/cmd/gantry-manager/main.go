// Go's runtime would keep two descriptors of the daemon's cgroup open, to follow its CPU limit, and read the
// whole table of mounts at each start to find them.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command gantry-manager is the daemon around package manager: it serves containerd's API on a unix socket.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-containers/gantry/manager/config"
	versionservice "github.com/gantry-containers/gantry/manager/service/version"
)

const name = "gantry-manager"

// version and commit are set by the build.
var version, commit = "unknown", "unknown"

const usage = `usage: gantry-manager [flags] [command]

Serves containerd's API. Without a command it runs until it gets SIGTERM or SIGINT; containers go on without it.

commands:
  config default   print the configuration that there is without a file
  config dump      print the configuration that these flags and the file make; migrate is the same
  publish          bring an event on stdin to the manager: --topic TOPIC --namespace NAMESPACE
  oci-hook         be a hook of config.json: {{pid}} and the like in the arguments behind it are filled in
  help             print this

flags:
  -c, --config FILE      configuration in containerd's form (default ` + config.Path + `)
  -a, --address SOCKET   unix socket for clients; the one for shims has .ttrpc behind
      --root DIRECTORY   what outlives the machine's restart: images, containers, snapshots
      --state DIRECTORY  what doesn't: bundles of running tasks, events
  -l, --log-level LEVEL  trace, debug, info, warn, error, fatal or panic
  -v, --version          print the version
`

// flags is the command line. What is empty was not given.
type flags struct {
	config, address, root, state, level string
	version                             bool
	command                             []string
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.config, "config", "", "")
	set.StringVar(&f.config, "c", "", "")
	set.StringVar(&f.address, "address", "", "")
	set.StringVar(&f.address, "a", "", "")
	set.StringVar(&f.root, "root", "", "")
	set.StringVar(&f.state, "state", "", "")
	set.StringVar(&f.level, "log-level", "", "")
	set.StringVar(&f.level, "l", "", "")
	set.BoolVar(&f.version, "version", false, "")
	set.BoolVar(&f.version, "v", false, "")
	err := set.Parse(args)
	f.command = set.Args()
	if errors.Is(err, flag.ErrHelp) {
		f.command, err = []string{"help"}, nil
	}
	return f, err
}

// settings reads the file and puts the flags over it. A file that is missing is no fault, unless it was asked for.
func (f flags) settings() (config.Config, error) {
	path := f.config
	if path == "" {
		path = config.Path
	}
	c, err := config.Load(path)
	if f.config == "" && errors.Is(err, fs.ErrNotExist) {
		c, err = config.Default(), nil
	}
	if err != nil {
		return c, err
	}
	for value, to := range map[*string]*string{&f.root: &c.Root, &f.state: &c.State} {
		if *value == "" {
			continue
		}
		if *to, err = filepath.Abs(*value); err != nil {
			return c, err
		}
	}
	if f.address != "" {
		c.GRPC.Address, c.TTRPC.Address = f.address, ""
	}
	if f.level != "" {
		c.Debug.Level = f.level
	}
	return c, c.Complete()
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	if f.version {
		fmt.Fprintf(out, "%s %s %s (API of containerd %s)\n", name, version, commit, versionservice.API())
		return nil
	}
	switch command := strings.Join(f.command, " "); command {
	case "":
		c, err := f.settings()
		if err != nil {
			return err
		}
		return serve(c)
	case "help":
		_, err := io.WriteString(out, usage)
		return err
	case "config default":
		c := config.Default()
		if err := c.Complete(); err != nil {
			return err
		}
		return c.Write(out)
	case "config dump", "config migrate":
		c, err := f.settings()
		if err != nil {
			return err
		}
		return c.Write(out)
	}
	switch f.command[0] {
	case "publish":
		address := f.address
		if address == "" {
			address = config.Default().GRPC.Address
		}
		return publish(address, f.command[1:], os.Stdin)
	case "oci-hook":
		args := f.command[1:]
		if len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
		return hook(args, os.Stdin)
	}
	return fmt.Errorf("unknown command %q: see %s help", strings.Join(f.command, " "), name)
}
