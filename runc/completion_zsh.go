package main

import (
	"io"
	"strings"
)

const zshHead = `#compdef runc
# zsh completion for runc, printed by: runc completion zsh

_runc_containers() {
	local -a ids
	ids=(${(f)"$(_call_program containers runc ${opt_args[--root]:+--root ${opt_args[--root]}} list -q 2>/dev/null)"})
	_describe -t containers container ids
}
`

// zshAction completes a word of the kind, zshcompsys(1) "_arguments".
func zshAction(kind wordKind) string {
	switch kind {
	case dir:
		return "_files -/"
	case container:
		return "_runc_containers"
	case signal:
		return "(" + signals + ")"
	case shell:
		return "(" + shells + ")"
	default:
		return "_files"
	}
}

func writeZsh(w io.Writer, all []completable) {
	io.WriteString(w, zshHead) //nolint:errcheck // there is nobody left to tell
	line(w, "\n_runc() {\n\tlocal curcontext=$curcontext state line\n\ttypeset -A opt_args\n\tlocal -a commands\n\tcommands=(")
	for i := range all[1:] {
		c := &all[i+1]
		line(w, "\t\t%s", quoted(c.name+":"+c.usage))
	}
	line(w, "\t)\n\t_arguments -C \\")
	zshFlags(w, &all[0])
	line(w, "\t\t'1:command:->command' '*::argument:->argument'")
	line(w, "\tcase $state in\n\tcommand) _describe -t commands command commands ;;\n\targument)\n\t\tcase $words[1] in")
	for i := range all[1:] {
		c := &all[i+1]
		line(w, "\t\t%s) _arguments -s \\", c.name)
		zshFlags(w, c)
		line(w, "\t\t%s ;;", zshArgs(c.args))
	}
	line(w, "\t\tesac ;;\n\tesac\n}\n\n_runc \"$@\"")
}

func zshFlags(w io.Writer, c *completable) {
	escape := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)
	for i := range c.flags {
		f := &c.flags[i]
		value := ""
		switch f.value {
		case none:
		case text:
			value = ":value: "
		case choice:
			value = ":value:(" + strings.Join(f.words, " ") + ")"
		default:
			value = ":value:" + zshAction(f.value)
		}
		for _, name := range f.dashed() {
			line(w, "\t\t%s \\", quoted("*"+name+"["+escape.Replace(f.usage)+"]"+value))
		}
	}
}

// zshArgs are the specifications of a command's arguments.
func zshArgs(kinds []wordKind) string {
	if len(kinds) == 0 {
		return "'*: :'"
	}
	var specs []string
	for i, kind := range kinds {
		number := string(rune('1' + i))
		if i > 0 && kind == text {
			number = "*"
		}
		specs = append(specs, quoted(number+":argument:"+zshAction(kind)))
	}
	return strings.Join(specs, " ")
}
