package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) execCommand() *cli.Command {
	return &cli.Command{
		Name:            "exec",
		Usage:           "run a further program in a running container",
		ArgsUsage:       "CONTAINER COMMAND [ARG...]  |  -p FILE CONTAINER",
		Description:     "The exit code is the program's, or 255 when it could not be run.",
		HideHelpCommand: true,
		Flags: append(launchFlags(),
			boolFlag("return once the program runs", "detach", "d"),
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "JSON `FILE` with a process object, instead of COMMAND and the flags below"},
			&cli.StringFlag{Name: "cwd", Usage: "working `DIR` in the container"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "add `NAME=VALUE` to the container's environment"},
			boolFlag("give the program a terminal", "tty", "t"),
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`UID[:GID]`, numbers only"},
			&cli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "further group `GID`"},
			&cli.StringFlag{Name: "process-label", Usage: "SELinux `LABEL` of the program"},
			&cli.StringFlag{Name: "apparmor", Usage: "AppArmor `PROFILE` of the program"},
			boolFlag("the program can gain no privileges by execve(2)", "no-new-privs"),
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add the capability `CAP_NAME`"},
			&cli.StringSliceFlag{Name: "cgroup", Usage: "run in the sub-cgroup `[CONTROLLER[,CONTROLLER]:]PATH`"},
			boolFlag("allow a paused container; the program starts when it is resumed", "ignore-paused"),
		),
		Action: p.exec,
	}
}

func (p *program) exec(c *cli.Context) error {
	// With --process, real runcs overlook what follows the id; so does this one.
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	options, err := execOptions(c)
	if err == nil {
		p.runtime.Warn = p.log.warning
		err = p.execIn(options)
	}
	if err != nil {
		return &exitError{fmt.Errorf(compatExecFailed, err), 255}
	}
	return nil
}

func (p *program) execIn(options *libcontainer.ExecOptions) (err error) {
	if options.ProcessFile == "" && len(options.Args) == 0 {
		// A wrong id is the more useful thing to say.
		if _, err := p.runtime.State(options.ID); err != nil {
			return err
		}
		return fault.Usage.Of("", errors.New(compatExecArgs))
	}
	p.status, err = p.runtime.Exec(options)
	return err
}

func execOptions(c *cli.Context) (*libcontainer.ExecOptions, error) {
	launch, err := launchOptions(c)
	if err != nil {
		return nil, err
	}
	launch.Detach = c.Bool("detach")
	process, err := absolute(c.String("process"))
	if err != nil {
		return nil, fault.FlagFailed.At("--process", err)
	}
	gids, err := groupIDs(c.Int64Slice("additional-gids"))
	if err != nil {
		return nil, err
	}
	return &libcontainer.ExecOptions{
		LaunchOptions:  launch,
		ID:             c.Args().First(),
		ProcessFile:    process,
		Args:           c.Args().Tail(),
		Cwd:            c.String("cwd"),
		Env:            c.StringSlice("env"),
		TTY:            c.Bool("tty"),
		User:           c.String("user"),
		AdditionalGIDs: gids,
		Caps:           c.StringSlice("cap"),
		NoNewPrivs:     c.Bool("no-new-privs"),
		ProcessLabel:   c.String("process-label"),
		AppArmor:       c.String("apparmor"),
		CgroupPaths:    c.StringSlice("cgroup"),
		IgnorePaused:   c.Bool("ignore-paused"),
	}, nil
}

func groupIDs(numbers []int64) ([]uint32, error) {
	var gids []uint32
	for _, n := range numbers {
		// The highest value is no group: chown(2) and setresgid(2) read it as "leave it".
		if n < 0 || n >= math.MaxUint32 {
			return nil, fault.Usage.Atf("--additional-gids", "%d is no group id", n)
		}
		gids = append(gids, uint32(n))
	}
	return gids, nil
}
