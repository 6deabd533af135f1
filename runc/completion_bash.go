package main

import (
	"io"
	"slices"
	"strings"
)

// bashHead finds the command and the number of the argument under the cursor: words that
// are neither flags nor their values.
const bashHead = `# bash completion for runc, printed by: runc completion bash
_runc() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev= command= flags= values= i word args=0
	local -a global=() kinds=()
	[ "$COMP_CWORD" -gt 0 ] && prev=${COMP_WORDS[COMP_CWORD-1]}
	if [ "$prev" = = ]; then # --flag=value: "=" parts words
		prev=${COMP_WORDS[COMP_CWORD-2]}
	elif [ "$cur" = = ]; then
		cur=
	fi
	COMPREPLY=()
	_runc_table ''
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--root)
			word=${COMP_WORDS[i+1]}
			[ "$word" = = ] && word=${COMP_WORDS[i+2]}
			global=(--root "$word")
			word=--root
			;;
		esac
		if [[ $word == -* ]]; then
			if [[ ${COMP_WORDS[i+1]} == = ]]; then
				((i += 2))
			elif [[ " $values " == *" $word "* ]]; then
				((i++))
			fi
		elif [ -z "$command" ]; then
			command=$word
			_runc_table "$command"
		else
			((args++))
		fi
	done
	if [[ $prev == -* && " $values " == *" $prev "* ]]; then
		_runc_value "$command" "$prev"
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$cur"))
	elif [ -z "$command" ]; then
		COMPREPLY=($(compgen -W "$(_runc_commands)" -- "$cur"))
	else
		_runc_argument "${kinds[args < ${#kinds[@]} ? args : ${#kinds[@]} - 1]}"
	fi
}

_runc_argument() {
	case $1 in
	container) COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${global[@]}" list -q 2>/dev/null)" -- "$cur")) ;;
	signal) COMPREPLY=($(compgen -W '` + signals + `' -- "$cur")) ;;
	shell) COMPREPLY=($(compgen -W '` + shells + `' -- "$cur")) ;;
	text | file) COMPREPLY=($(compgen -f -- "$cur")) ;;
	dir) COMPREPLY=($(compgen -d -- "$cur")) ;;
	esac
}
`

// bashKind is the word that _runc_argument knows the kind by.
func bashKind(kind wordKind) string {
	switch kind {
	case text:
		return "text"
	case file:
		return "file"
	case dir:
		return "dir"
	case container:
		return "container"
	case signal:
		return "signal"
	case shell:
		return "shell"
	default:
		return "none"
	}
}

func writeBash(w io.Writer, all []completable) {
	io.WriteString(w, bashHead) //nolint:errcheck // there is nobody left to tell
	var names []string
	line(w, "\n_runc_table() {\n\tcase $1 in")
	for i := range all {
		c := &all[i]
		if c.name != "" {
			names = append(names, c.name)
		}
		var flags, values, kinds []string
		for j := range c.flags {
			flags = append(flags, c.flags[j].dashed()...)
			if c.flags[j].value != none {
				values = append(values, c.flags[j].dashed()...)
			}
		}
		for _, kind := range append(slices.Clone(c.args), lastKind(c.args)) {
			kinds = append(kinds, bashKind(kind))
		}
		line(w, "\t%s) flags='%s' values='%s' kinds=(%s) ;;", quoted(c.name), strings.Join(flags, " "), strings.Join(values, " "), strings.Join(kinds, " "))
	}
	line(w, "\t*) flags= values= kinds=(none) ;;\n\tesac\n}")
	line(w, "\n_runc_commands() {\n\techo '%s'\n}", strings.Join(names, " "))
	line(w, "\n_runc_value() {\n\tcase \"$1 $2\" in")
	for i := range all {
		bashValues(w, &all[i])
	}
	line(w, "\tesac\n}\n\ncomplete -o filenames -F _runc runc")
}

// lastKind is what further arguments are: more of a program's words, or none.
func lastKind(args []wordKind) wordKind {
	if len(args) > 0 && args[len(args)-1] == text {
		return text
	}
	return none
}

func bashValues(w io.Writer, c *completable) {
	for i := range c.flags {
		f := &c.flags[i]
		var patterns []string
		for _, name := range f.dashed() {
			patterns = append(patterns, quoted(c.name+" "+name))
		}
		switch pattern := strings.Join(patterns, " | "); f.value {
		case file, dir:
			line(w, "\t%s) _runc_argument %s ;;", pattern, bashKind(f.value))
		case choice:
			line(w, "\t%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;", pattern, strings.Join(f.words, " "))
		default: // nothing that a shell could know
		}
	}
}
