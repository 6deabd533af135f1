package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:            "completion",
		Usage:           "print a script that completes this command line",
		ArgsUsage:       "bash|zsh|fish",
		Description:     "bash: source <(runc completion bash)    fish: runc completion fish | source\nzsh: a file _runc in a directory of $fpath",
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			write := map[string]func(io.Writer, []completable){"bash": writeBash, "zsh": writeZsh, "fish": writeFish}[c.Args().First()]
			if write == nil {
				return fault.Usage.Errorf("unknown shell %q: want bash, zsh or fish", c.Args().First())
			}
			write(c.App.Writer, p.completables())
			return nil
		},
	}
}

// completable is a command, or with an empty name what stands in front of one.
type completable struct {
	name, usage string
	flags       []completableFlag
	// args is what the first arguments are; the last one stands for the rest.
	args []wordKind
}

// completableFlag is a flag with what follows it.
type completableFlag struct {
	names []string // without dashes
	usage string
	value wordKind
	words []string // of value choice
}

// wordKind says what a word of the command line can be.
type wordKind int

const (
	none wordKind = iota // no word: a switch, or the end of the arguments
	text                 // nothing that a shell could know
	file
	dir
	choice
	container
	signal
	shell
)

// completables reads the flag tables, all commands but the hidden ones.
func (p *program) completables() []completable {
	all := []completable{{flags: completableFlags(append(globalFlags(), cli.HelpFlag, cli.VersionFlag))}}
	for _, c := range p.commands("") {
		if !c.Hidden {
			all = append(all, completable{
				name: c.Name, usage: c.Usage, args: argKinds(c.ArgsUsage),
				flags: completableFlags(append(c.Flags, cli.HelpFlag)),
			})
		}
	}
	return all
}

func completableFlags(flags []cli.Flag) (list []completableFlag) {
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if hidden, can := f.(cli.VisibleFlag); !ok || can && !hidden.IsVisible() {
			continue
		}
		c := completableFlag{names: f.Names(), usage: strings.ReplaceAll(doc.GetUsage(), "`", "")}
		if doc.TakesValue() {
			c.value, c.words = valueKind(doc.GetUsage())
		}
		list = append(list, c)
	}
	return list
}

// valueKind reads the placeholder in a flag's usage: FILE, SOCKET and DIR by their names;
// one of lower case is the first choice of those that follow it.
func valueKind(usage string) (wordKind, []string) {
	_, rest, _ := strings.Cut(usage, "`")
	placeholder, _, _ := strings.Cut(rest, "`")
	switch {
	case placeholder == "FILE" || placeholder == "SOCKET":
		return file, nil
	case placeholder == "DIR":
		return dir, nil
	case placeholder == "" || placeholder != strings.ToLower(placeholder):
		return text, nil
	}
	words := strings.FieldsFunc(strings.ReplaceAll(rest, " or ", " "), func(r rune) bool { return r == ' ' || r == ',' || r == '`' })
	return choice, words
}

// argKinds reads what a command says of its arguments.
func argKinds(usage string) []wordKind {
	var kinds []wordKind
	for word := range strings.FieldsSeq(usage) {
		switch strings.Trim(word, "[]") {
		case "CONTAINER":
			kinds = append(kinds, container)
		case "SIGNAL":
			kinds = append(kinds, signal)
		case "bash|zsh|fish":
			kinds = append(kinds, shell)
		case "|":
			return kinds // another form of the command
		default:
			return append(kinds, text)
		}
	}
	return kinds
}

// signals are the names that `runc kill` is most used with.
const signals = "TERM KILL HUP INT QUIT USR1 USR2 STOP CONT WINCH"

const shells = "bash zsh fish"

// dashed is the flag's names as they are typed.
func (f *completableFlag) dashed() []string {
	all := make([]string, len(f.names))
	for i, name := range f.names {
		all[i] = "--" + name
		if len(name) == 1 {
			all[i] = "-" + name
		}
	}
	return all
}

// quoted puts a text between single quotes for a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func line(w io.Writer, format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
