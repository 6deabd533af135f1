package plandiff

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// arg is a field of an operation, with its value as JSON.
type arg struct{ name, value string }

// ArgChange is an argument that differs: of a list, one element that was removed or added
// ("" is the other side), of anything else its two values, as JSON.
type ArgChange struct {
	Name, Old, New string
	// Secret values are not shown unless asked for: Old and New then hold names only.
	secret bool
}

func nameOf(a plan.Action) string { return reflect.TypeOf(a).Elem().Name() }

func stepsOf(side Side) []Step {
	steps := make([]Step, len(side.Plan.Ops))
	for i := range steps {
		op := &side.Plan.Ops[i]
		s := &steps[i]
		*s = Step{
			Number: i + 1, Actor: op.Actor.String(), Op: nameOf(op.Do), Field: op.Field,
			Text: side.relative(op.Do.String()), args: side.args(op.Do),
		}
		var key strings.Builder
		key.WriteString(s.Actor + " " + s.Op)
		for _, a := range s.args {
			key.WriteString(" " + a.name + "=" + a.value)
		}
		s.key = key.String()
	}
	return steps
}

// relative puts $BUNDLE for the bundle's own path.
func (s Side) relative(text string) string {
	if len(s.Bundle) < 2 {
		return text
	}
	return strings.ReplaceAll(text, s.Bundle+"/", "$BUNDLE/")
}

// args lists the fields of an operation but for the place in config.json, which is no
// part of what it does.
func (s Side) args(do plan.Action) (list []arg) {
	v := reflect.ValueOf(do).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Anonymous || !f.IsExported() || f.Name == "Index" {
			continue
		}
		text, err := json.Marshal(shown(v.FieldByIndex(f.Index).Addr().Interface()))
		if err != nil {
			text = []byte(`"?"`) // nothing in an operation is without a form in JSON
		}
		list = append(list, arg{f.Name, s.relative(string(text))})
	}
	return list
}

// shown is a value in the form in which people read it. It points to a field.
func shown(field any) any {
	switch v := field.(type) {
	case *[]byte: // a seccomp filter
		sum := fnv.New64a()
		_, _ = sum.Write(*v) // never fails
		return fmt.Sprintf("%d bytes, checksum %x", len(*v), sum.Sum64())
	case fmt.Stringer: // a set: of capabilities, of mount flags
		return strings.FieldsFunc(v.String(), func(r rune) bool { return r == ',' })
	}
	return field
}

// subject is what an operation is about, "" when it has no such argument.
func (s *Step) subject() string {
	for _, name := range []string{"Destination", "File", "Path", "Name", "Kind"} {
		for _, a := range s.args {
			if a.name == name && len(s.args) > 1 {
				return a.value
			}
		}
	}
	return ""
}

func argChanges(before, after *Step) (list []ArgChange) {
	for i, a := range before.args {
		b := after.args[i]
		if a.value == b.value {
			continue
		}
		secret := before.Op == "Execute" && a.name == "Env"
		removed, added, ok := elements(a.value, b.value)
		if !ok {
			list = append(list, ArgChange{a.name, a.value, b.value, secret})
			continue
		}
		for _, e := range removed {
			list = append(list, ArgChange{a.name, e, "", secret})
		}
		for _, e := range added {
			list = append(list, ArgChange{a.name, "", e, secret})
		}
	}
	return list
}

// elements compares two lists. It is not ok for other values, and for lists that differ
// in their order alone.
func elements(before, after string) (removed, added []string, ok bool) {
	var a, b []json.RawMessage
	if json.Unmarshal([]byte(before), &a) != nil || json.Unmarshal([]byte(after), &b) != nil {
		return nil, nil, false
	}
	removed, added = missingFrom(a, b), missingFrom(b, a)
	return removed, added, len(removed)+len(added) > 0
}

// missingFrom lists what is more often in the first list than in the second.
func missingFrom(a, b []json.RawMessage) (list []string) {
	rest := make([]string, len(b))
	for i, e := range b {
		rest[i] = string(e)
	}
	for _, e := range a {
		if i := slices.Index(rest, string(e)); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			list = append(list, string(e))
		}
	}
	return list
}
