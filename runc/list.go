package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name:            "list",
		Usage:           "list the containers of the root",
		ArgsUsage:       " ", // none: cli would invent some
		HideHelpCommand: true,
		Flags: []cli.Flag{
			formatFlag(),
			boolFlag("print only the ids", "quiet", "q"),
		},
		Action: p.list,
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "`table` or json"}
}

func (p *program) list(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	all, broken, err := p.runtime.List()
	if errors.Is(err, fs.ErrNotExist) && !p.rootGiven {
		err = nil // nobody has made a container yet
	}
	if err != nil {
		return err
	}
	for _, err := range broken {
		fmt.Fprintln(c.App.ErrWriter, oneLine(err))
	}
	if c.Bool("quiet") {
		for i := range all {
			fmt.Fprintln(c.App.Writer, all[i].ID)
		}
		return nil
	}
	switch c.String("format") {
	case "table":
		return listTable(c.App.Writer, all)
	case "json":
		return writeAll(unix.Stdout, listJSON(all))
	default:
		return fault.Usage.Of("--format", errors.New(compatFormat))
	}
}

func listTable(out io.Writer, all []libcontainer.Info) error {
	names := readUserNames()
	w := tabwriter.NewWriter(out, 12, 1, 3, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}, "\t"))
	for i := range all {
		c := &all[i]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", c.ID, c.PID, c.Status, c.Bundle,
			c.Created.UTC().Format(time.RFC3339Nano), names.of(c.Owner))
	}
	return w.Flush()
}

// listJSON is one array on one line, without a newline behind it. No container is null,
// not []: so it has always been, and Go clients decode both alike.
func listJSON(all []libcontainer.Info) []byte {
	if len(all) == 0 {
		return []byte("null\n")
	}
	names := readUserNames()
	b := []byte{'['}
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInfo(b, &all[i], names.of(all[i].Owner), compact)
	}
	return append(b, "]\n"...)
}
