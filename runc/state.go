package main

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer"
)

func (p *program) stateCommand() *cli.Command {
	return &cli.Command{
		Name:            "state",
		Usage:           "print what is known about a container, as JSON",
		ArgsUsage:       "CONTAINER",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			info, err := p.runtime.State(c.Args().First())
			if err != nil {
				return err
			}
			// The owner's name is list's affair: state has the key, and nothing in it.
			return writeAll(unix.Stdout, appendInfo(nil, info, "", indented))
		},
	}
}

// layout is the white space of a JSON object of strings: state prints it for people, list
// many of them on one line.
type layout struct{ line, indent, colon, end string }

var (
	indented = layout{line: "\n  ", indent: "  ", colon: ": ", end: "\n"}
	compact  = layout{colon: ":"}
)

// appendInfo appends the JSON object that go-runc, BuildKit and CRI-O decode. It is
// written by hand since engines ask for state more often than for anything else.
func appendInfo(b []byte, info *libcontainer.Info, owner string, l layout) []byte {
	text := func(key, value string) {
		b = appendJSON(appendKey(b, key, l), value)
	}
	b = append(b, '{')
	text("ociVersion", info.OCIVersion)
	text("id", info.ID)
	b = strconv.AppendInt(appendKey(b, "pid", l), int64(info.PID), 10)
	text("status", string(info.Status))
	text("bundle", info.Bundle)
	text("rootfs", info.Rootfs)
	text("created", info.Created.UTC().Format(time.RFC3339Nano))
	if len(info.Annotations) > 0 {
		b = appendMap(appendKey(b, "annotations", l), info.Annotations, l)
	}
	text("owner", owner)
	return append(append(b, l.end...), '}')
}

func appendKey(b []byte, key string, l layout) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, l.line...)
	return append(appendJSON(b, key), l.colon...)
}

func appendMap(b []byte, values map[string]string, l layout) []byte {
	inner := l
	inner.line += l.indent
	b = append(b, '{')
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b = appendJSON(appendKey(b, key, inner), values[key])
	}
	return append(append(b, l.line...), '}')
}
