package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) psCommand() *cli.Command {
	return &cli.Command{
		Name:            "ps",
		Usage:           "list the processes of a container",
		ArgsUsage:       "CONTAINER [PS-OPTION...]",
		Description:     "The options (default: -ef) are those of the host's ps, whose answer is cut down to the container.",
		HideHelpCommand: true,
		Flags:           []cli.Flag{formatFlag()},
		Action:          p.ps,
	}
}

func (p *program) ps(c *cli.Context) error {
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	pids, err := p.runtime.PIDs(c.Args().First())
	if err != nil {
		return err
	}
	switch c.String("format") {
	case "table":
		options := c.Args().Tail()
		if len(options) == 0 {
			options = []string{"-ef"}
		}
		return psTable(c.App.Writer, pids, options)
	case "json":
		return writeAll(unix.Stdout, psJSON(pids))
	default:
		return fault.Usage.Of("--format", errors.New(compatFormat))
	}
}

// psJSON is an array of the host's process ids, or null when there are none.
func psJSON(pids []int) []byte {
	if len(pids) == 0 {
		return []byte("null\n")
	}
	b := []byte{'['}
	for i, pid := range pids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(pid), 10)
	}
	return append(b, "]\n"...)
}

// psTable runs the host's ps and prints the lines of the given processes.
func psTable(out io.Writer, pids []int, options []string) error {
	var stderr bytes.Buffer
	cmd := exec.Command("ps", options...) //nolint:forbidigo // the answer is the host's ps' own, whatever its options
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ps: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	head, lines, _ := strings.Cut(string(answer), "\n")
	column := slices.Index(strings.Fields(head), "PID")
	if column < 0 {
		return errors.New(compatPSHeader)
	}
	fmt.Fprintln(out, head)
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue // ps -H or -L can leave lines without one
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return fmt.Errorf("ps: process id %q: %w", fields[column], err)
		}
		if slices.Contains(pids, pid) {
			fmt.Fprint(out, line)
		}
	}
	return nil
}
