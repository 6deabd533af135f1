package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/seccomp/profile"
	"github.com/gantry-containers/gantry/libcontainer/validate/validatetest"
)

// refused reads a config.json as `create` does before it makes anything, and returns the
// paths of what is wrong with it.
func refused(t *testing.T, text []byte) (paths []string) {
	t.Helper()
	spec, seccomp, err := bundle.Decode(text)
	if wrong, ok := errors.AsType[bundle.FieldErrors](err); ok {
		for _, w := range wrong {
			paths = append(paths, w.Path)
		}
		return paths
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Spec(spec, &root) {
		paths = append(paths, p.Path)
	}
	if seccomp == nil {
		return paths
	}
	s, err := profile.Decode(seccomp)
	if err == nil {
		err = profile.Check(s)
	}
	var problems profile.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	for _, p := range problems {
		paths = append(paths, p.Field)
	}
	return paths
}

// fullTree is full.json as JSON values.
func fullTree(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, string(text)).(map[string]any)
}

func parsed(t *testing.T, text string) (value any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// put sets the field in the last element of each list and the first member of each map on
// the way to it, and makes what is missing.
func put(node any, field string, value any) any {
	if field == "" {
		return value
	}
	if rest, ok := strings.CutPrefix(field, "[]"); ok {
		list, _ := node.([]any)
		if len(list) == 0 {
			list = []any{nil}
		}
		last := len(list) - 1
		list[last] = put(list[last], rest, value)
		return list
	}
	object, _ := node.(map[string]any)
	if object == nil {
		object = make(map[string]any)
	}
	field = strings.TrimPrefix(field, ".")
	end := strings.IndexAny(field, ".[")
	if end < 0 {
		end = len(field)
	}
	key := field[:end]
	if key == "*" {
		key = slices.Min(append(slices.Collect(maps.Keys(object)), "~"))
	}
	object[key] = put(object[key], field[end:], value)
	return object
}

// wrongFor are values that no field of the kind can have.
func wrongFor(t reflect.Type) []string {
	const text, number, yes, list, object = `"x"`, `7`, `true`, `[]`, `{}`
	switch t.Kind() {
	case reflect.Pointer:
		return wrongFor(t.Elem())
	case reflect.String:
		return []string{number, yes, list, object, `"a\u0000b"`}
	case reflect.Bool:
		return []string{text, number, list, object, `"true"`}
	case reflect.Slice:
		return []string{text, number, yes, object}
	case reflect.Struct, reflect.Map:
		return []string{text, number, yes, list}
	case reflect.Int, reflect.Int64:
		return []string{text, yes, list, object, `1.5`, `"1"`, `9223372036854775808`, `-9223372036854775809`, `1e400`}
	case reflect.Uint, reflect.Uint64:
		return []string{text, yes, list, object, `1.5`, `"1"`, `-1`, `18446744073709551616`, `1e400`}
	case reflect.Int32:
		return []string{text, yes, list, object, `1.5`, `"1"`, `2147483648`, `-2147483649`}
	case reflect.Uint32:
		return []string{text, yes, list, object, `1.5`, `"1"`, `-1`, `4294967296`}
	case reflect.Uint16:
		return []string{text, yes, list, object, `1.5`, `"1"`, `-1`, `65536`}
	}
	panic("no wrong values for " + t.String())
}

// places calls f with every place of a type that JSON can fill: objects, lists and values.
func places(t reflect.Type, path string, f func(field string, t reflect.Type)) {
	if path != "" {
		f(path, t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		// f has seen it
		if t.Elem().Kind() == reflect.Struct {
			members(t.Elem(), path, f)
		}
	case reflect.Slice:
		places(t.Elem(), path+"[]", f)
	case reflect.Map:
		places(t.Elem(), path+".*", f)
	case reflect.Struct:
		members(t, path, f)
	}
}

func members(t reflect.Type, path string, f func(field string, t reflect.Type)) {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			members(field.Type, path, f)
		case path == "" && slices.Contains(validatetest.Foreign, name):
		default:
			places(field.Type, strings.TrimPrefix(path+"."+name, "."), f)
		}
	}
}

// TestEveryFieldRefusesAWrongType gives every object, list and value of specs.Spec what
// its type in Go can't hold.
func TestEveryFieldRefusesAWrongType(t *testing.T) {
	count := 0
	places(reflect.TypeFor[specs.Spec](), "", func(field string, kind reflect.Type) {
		for _, value := range wrongFor(kind) {
			count++
			wantRefused(t, field, validatetest.Bad{Value: value})
		}
	})
	if count < 1200 {
		t.Errorf("only %d values tried", count)
	}
}

// wantRefused wants a config with the bad value to be refused for the field.
func wantRefused(t *testing.T, field string, b validatetest.Bad) {
	t.Helper()
	tree := any(fullTree(t))
	for place, value := range b.Beside {
		tree = put(tree, place, parsed(t, value))
	}
	place, want := field, field
	if b.Place != "" {
		place = b.Place
	}
	if b.Want != "" {
		want = b.Want
	}
	text, err := json.Marshal(put(tree, place, json.RawMessage(b.Value)))
	if err != nil {
		t.Fatalf("%s: %s: %v", field, b.Value, err)
	}
	paths := refused(t, text)
	if !slices.ContainsFunc(paths, func(p string) bool { return matches(want, p) }) {
		t.Errorf("%s: %s is not refused by its name: %q", field, b.Value, paths)
	}
}

// TestEveryFieldRefusesABadValue tries the values of validatetest.Values, which are of the right type.
func TestEveryFieldRefusesABadValue(t *testing.T) {
	known := make(map[string]bool)
	for _, l := range linuxLeaves(t) {
		known[l.path] = true
		_, free := validatetest.Any[l.path]
		if values := validatetest.Values[l.path]; free == (len(values) > 0) {
			t.Errorf("%s: in Values %d times, in Any %t", l.path, len(values), free)
		}
		for _, b := range validatetest.Values[l.path] {
			wantRefused(t, l.path, b)
		}
	}
	for _, b := range validatetest.Keys {
		wantRefused(t, b.Place, b)
	}
	for field := range validatetest.Values {
		if !known[field] {
			t.Errorf("%s: the spec has no such field", field)
		}
	}
	for field := range validatetest.Any {
		if !known[field] {
			t.Errorf("%s: the spec has no such field", field)
		}
	}
	if paths := refused(t, mustMarshal(t, fullTree(t))); len(paths) > 0 {
		t.Errorf("full.json itself is refused: %q", paths)
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
