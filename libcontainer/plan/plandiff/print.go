package plandiff

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Redact hides the values of environment variables; which of them differ remains to
// be seen.
func Redact(changes []Change) {
	for i := range changes {
		for j := range changes[i].Args {
			if a := &changes[i].Args[j]; a.secret {
				a.Old, a.New = redacted(a.Old), redacted(a.New)
			}
		}
	}
}

// redacted is a JSON text with every name=value cut to its name.
func redacted(text string) string {
	var one string
	var all []string
	hide := func(s string) string {
		name, _, _ := strings.Cut(s, "=")
		return name + "=***"
	}
	var out any
	switch {
	case json.Unmarshal([]byte(text), &one) == nil:
		out = hide(one)
	case json.Unmarshal([]byte(text), &all) == nil:
		for i := range all {
			all[i] = hide(all[i])
		}
		out = all
	default:
		return ""
	}
	hidden, _ := json.Marshal(out) // strings have a form in JSON
	return string(hidden)
}

// sign begins the line of a change.
func (k ChangeKind) sign() string {
	switch k {
	case Added:
		return "+"
	case Removed:
		return "-"
	case Moved:
		return ">"
	default:
		return "~"
	}
}

// WriteText prints changes, one operation a line: a sign (- removed, + added, ~ changed,
// > moved), its number in the old and in the new plan, who performs it, what it does and
// the field that it comes from. Below a changed one stand the arguments that differ.
func WriteText(w io.Writer, changes []Change) error {
	var b strings.Builder
	for i := range changes {
		c := &changes[i]
		step, before, after := c.New, "", ""
		if c.Old != nil {
			before = fmt.Sprint(c.Old.Number)
		}
		if c.New != nil {
			after = fmt.Sprint(c.New.Number)
		} else {
			step = c.Old
		}
		fmt.Fprintf(&b, "%s %3s %3s  %-7s  %s  [%s]\n", c.Kind.sign(), before, after, step.Actor, step.Text, step.Field)
		for _, a := range c.Args {
			fmt.Fprintf(&b, "             %s\n", a)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is "name: old → new", or the element of a list with its sign.
func (a ArgChange) String() string {
	switch {
	case a.New == "":
		return a.Name + ": - " + a.Old
	case a.Old == "":
		return a.Name + ": + " + a.New
	}
	return a.Name + ": " + a.Old + " → " + a.New
}

// jsonStep and jsonArg are how WriteJSON prints.
type jsonStep struct {
	Step  int    `json:"step"`
	Field string `json:"field"`
	Text  string `json:"text"`
}

type jsonArg struct {
	Name string          `json:"name"`
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// WriteJSON prints changes as an array of objects: change (added, removed, changed,
// moved), actor, op, old and new (each with step, field and text), and args with what
// differs in a changed operation; an element of a list that was removed has no new.
func WriteJSON(w io.Writer, changes []Change) error {
	type line struct {
		Change ChangeKind `json:"change"`
		Actor  string     `json:"actor"`
		Op     string     `json:"op"`
		Old    *jsonStep  `json:"old,omitempty"`
		New    *jsonStep  `json:"new,omitempty"`
		Args   []jsonArg  `json:"args,omitempty"`
	}
	lines := make([]line, len(changes))
	for i := range changes {
		c, l := &changes[i], &lines[i]
		l.Change = c.Kind
		for _, side := range []struct {
			step *Step
			to   **jsonStep
		}{{c.Old, &l.Old}, {c.New, &l.New}} {
			if s := side.step; s != nil {
				l.Actor, l.Op = s.Actor, s.Op
				*side.to = &jsonStep{s.Number, s.Field, s.Text}
			}
		}
		for _, a := range c.Args {
			l.Args = append(l.Args, jsonArg{a.Name, json.RawMessage(a.Old), json.RawMessage(a.New)})
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(lines)
}
