package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestPermuteMovesFlagsBeforeArguments(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no flags", "state c", "state -- c"},
		{"no arguments", "list -q", "list -q"},
		{"flags first stay", "delete --force c", "delete --force -- c"},
		{"a flag behind the argument", "delete c --force", "delete --force -- c"},
		{"a value goes with its flag", "create c --bundle /b --pid-file p", "create --bundle /b --pid-file p -- c"},
		{"a value behind an equals sign", "create c --bundle=/b x", "create --bundle=/b -- c x"},
		{"a short name", "run c -b /b -d", "run -b /b -d -- c"},
		{"a long name behind one dash", "run c -no-pivot -bundle /b", "run -no-pivot -bundle /b -- c"},
		{"a flag between two arguments", "kill c --all 9", "kill --all -- c 9"},
		{"a value that looks like a flag", "create c --pid-file --force", "create --pid-file --force -- c"},
		{"after two dashes nothing is a flag", "kill -- c -a", "kill -- c -a"},
		{"two dashes are a flag's value", "create c --bundle -- x", "create --bundle -- -- c x"},
		{"one dash is an argument", "kill c -", "kill -- c -"},
		{"a missing value stays missing", "create c --bundle", "create --bundle"},
		{"an unknown flag is for cli to refuse", "state c --what", "state --what -- c"},
		{"help is about the command, not its argument", "state c --help", "state --help"},
		{"help by its short name", "delete c -f -h", "delete -f -h"},
		{"exec's arguments are the program's", "exec -t c ls -t", "exec -t c ls -t"},
		{"ps' arguments are the host's ps'", "ps c -o pid", "ps c -o pid"},
		{"global flags stay in front", "--root /r --debug state c", "--root /r --debug state -- c"},
		{"a global flag with an equals sign", "--root=/r list -q", "--root=/r list -q"},
		{"a global value that is a command's name", "--log list kill c -a", "--log list kill -a -- c"},
		{"two dashes before the command", "-- delete c -f", "-- delete -f -- c"},
		{"an unknown global flag stops everything", "--what delete c -f", "--what delete c -f"},
		{"an unknown command is left alone", "foo c -f", "foo c -f"},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := append([]string{"runc"}, strings.Fields(c.in)...)
			before := slices.Clone(argv)
			p := new(program)
			globals := globalFlags()
			got := argv
			if at := commandIndex(globals, argv); at < len(argv) {
				if command := p.app(argv[at]).Command(argv[at]); command != nil {
					got = permute(command, argv, at)
				}
			}
			want := append([]string{"runc"}, strings.Fields(c.want)...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("permuted (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, argv); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
		})
	}
}

// TestEveryFlagIsAcceptedBehindTheArguments runs cli itself over each flag of each command.
func TestEveryFlagIsAcceptedBehindTheArguments(t *testing.T) {
	reached := errors.New("action")
	p := new(program)
	for _, described := range p.commands("") {
		name := described.Name
		if name == "exec" || name == "ps" {
			continue
		}
		for _, flag := range described.Flags {
			for _, form := range flagForms(flag) {
				t.Run(name+" "+strings.Join(form, " "), func(t *testing.T) {
					command := p.commands(name)[0]
					var args []string
					set := false
					command.Action = func(c *cli.Context) error {
						args, set = c.Args().Slice(), c.IsSet(flag.Names()[0])
						return reached
					}
					app := &cli.App{Commands: []*cli.Command{command}, ExitErrHandler: func(*cli.Context, error) {}}
					argv := append([]string{"runc", name, "id"}, form...)
					err := app.Run(permute(command, append(argv, "last"), 1))
					if !errors.Is(err, reached) || !set || !slices.Equal(args, []string{"id", "last"}) {
						t.Errorf("error %v, set %v, arguments %q", err, set, args)
					}
				})
			}
		}
	}
}

// flagForms are all ways to write a flag.
func flagForms(flag cli.Flag) (forms [][]string) {
	value := "3"
	if _, ok := flag.(*cli.DurationFlag); ok {
		value = "3s"
	}
	for _, name := range flag.Names() {
		for _, dash := range []string{"-", "--"} {
			if flag.(cli.DocGenerationFlag).TakesValue() {
				forms = append(forms, []string{dash + name, value}, []string{dash + name + "=" + value})
			} else {
				forms = append(forms, []string{dash + name}, []string{dash + name + "=true"})
			}
		}
	}
	return forms
}
