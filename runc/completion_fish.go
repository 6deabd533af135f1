package main

import (
	"io"
	"strings"
)

const fishHead = `# fish completion for runc, printed by: runc completion fish

function __runc_containers
	set -l words (commandline -opc)
	set -l root
	if set -l i (contains -i -- --root $words)
		set root --root $words[(math $i + 1)]
	end
	runc $root list -q 2>/dev/null
end

complete -c runc -f
`

func writeFish(w io.Writer, all []completable) {
	io.WriteString(w, fishHead) //nolint:errcheck // there is nobody left to tell
	for i := range all {
		c := &all[i]
		condition := "__fish_use_subcommand"
		if c.name != "" {
			line(w, "complete -c runc -n __fish_use_subcommand -a %s -d %s", c.name, fishQuoted(c.usage))
			condition = fishQuoted("__fish_seen_subcommand_from " + c.name)
		}
		for j := range c.flags {
			fishFlag(w, condition, &c.flags[j])
		}
		for _, kind := range c.args {
			switch kind {
			case container:
				line(w, "complete -c runc -n %s -a '(__runc_containers)'", condition)
			case signal:
				line(w, "complete -c runc -n %s -a %s", condition, fishQuoted(signals))
			case shell:
				line(w, "complete -c runc -n %s -a %s", condition, fishQuoted(shells))
			case text:
				line(w, "complete -c runc -n %s -F", condition)
			default:
			}
		}
	}
}

func fishFlag(w io.Writer, condition string, f *completableFlag) {
	var b strings.Builder
	for _, name := range f.names {
		option := " -l "
		if len(name) == 1 {
			option = " -s "
		}
		b.WriteString(option + name)
	}
	switch f.value {
	case none:
	case file:
		b.WriteString(" -r -F")
	case dir:
		b.WriteString(" -x -a '(__fish_complete_directories)'")
	case choice:
		b.WriteString(" -x -a " + fishQuoted(strings.Join(f.words, " ")))
	default:
		b.WriteString(" -x")
	}
	line(w, "complete -c runc -n %s%s -d %s", condition, b.String(), fishQuoted(f.usage))
}

// fishQuoted puts a text between single quotes, in which only \ and ' mean something.
func fishQuoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
