package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandIndex finds the command's name in argv: the first word that is neither a global
// flag nor its value. It is len(argv) when there is none, and behind a flag that is not
// in the table: then cli has something else to say (--help, --version, a mistake).
func commandIndex(table []cli.Flag, argv []string) int {
	for i := 1; i < len(argv); i++ {
		if argv[i] == "--" {
			return min(i+1, len(argv))
		}
		if !isFlag(argv[i]) {
			return i
		}
		flag := find(table, argv[i])
		if flag == nil {
			break
		}
		if takesNext(flag, argv[i]) {
			i++
		}
	}
	return len(argv)
}

// permute moves a command's flags before its arguments, as all real runcs accept them
// anywhere while cli/v2 stops at the first argument. After exec's and ps' first
// argument nothing is a flag of runc: those belong to the program that is run. What
// argv gets wrong is left for cli to say. The command is argv[at].
func permute(command *cli.Command, argv []string, at int) []string {
	if command.Name == "exec" || command.Name == "ps" {
		return argv
	}
	flags, args := split(command.Flags, argv[at+1:])
	out := append(slices.Clip(argv[:at+1]), flags...)
	if len(args) == 0 || asksForHelp(flags) {
		return out // help with an argument would be help about that
	}
	return append(append(out, "--"), args...)
}

// split sorts words into flags (with their values) and arguments.
func split(table []cli.Flag, words []string) (flags, args []string) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" {
			return flags, append(args, words[i+1:]...)
		}
		if !isFlag(word) {
			args = append(args, word)
			continue
		}
		flags = append(flags, word)
		if !takesNext(find(table, word), word) {
			continue
		}
		if i++; i == len(words) {
			// cli must find the value missing, and not take the first argument for it.
			return flags, nil
		}
		flags = append(flags, words[i])
	}
	return flags, args
}

func asksForHelp(flags []string) bool {
	for _, word := range flags {
		if slices.Contains(cli.HelpFlag.Names(), strings.TrimLeft(word, "-")) {
			return true
		}
	}
	return false
}

func isFlag(word string) bool { return len(word) > 1 && word[0] == '-' }

// find returns the flag that word, with one dash or two, calls by one of its names; or nil.
func find(table []cli.Flag, word string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	for _, flag := range table {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}

// takesNext reports whether word, a call of the flag, wants the next word for its value.
func takesNext(flag cli.Flag, word string) bool {
	f, ok := flag.(cli.DocGenerationFlag)
	return ok && f.TakesValue() && !strings.Contains(word, "=")
}

// boolFlag is a flag without a value; its help needs no "default: false".
func boolFlag(usage, name string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Aliases: aliases, Usage: usage, DisableDefaultText: true}
}
