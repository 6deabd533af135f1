package validate

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/validate/validatetest"
)

// leaf is a field of the spec that holds no other.
type leaf struct {
	path string
	set  bool // in the value that was walked
}

// leaves lists the fields of a type, and whether the value sets them anywhere.
func leaves(t reflect.Type, values []reflect.Value, path string) []leaf {
	switch t.Kind() {
	case reflect.Pointer:
		return leaves(t.Elem(), each(values, func(v reflect.Value) []reflect.Value {
			if v.IsNil() {
				return nil
			}
			return []reflect.Value{v.Elem()}
		}), path)
	case reflect.Slice:
		return leaves(t.Elem(), each(values, func(v reflect.Value) (list []reflect.Value) {
			for i := range v.Len() {
				list = append(list, v.Index(i))
			}
			return list
		}), path+"[]")
	case reflect.Map:
		return leaves(t.Elem(), each(values, func(v reflect.Value) (list []reflect.Value) {
			for _, key := range v.MapKeys() {
				list = append(list, v.MapIndex(key))
			}
			return list
		}), path+".*")
	case reflect.Struct:
		return structLeaves(t, values, path)
	}
	set := false
	for _, v := range values {
		set = set || !v.IsZero()
	}
	return []leaf{{path, set}}
}

func structLeaves(t reflect.Type, values []reflect.Value, path string) (list []leaf) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		if f.Anonymous {
			at = path
		}
		list = append(list, leaves(f.Type, each(values, func(v reflect.Value) []reflect.Value {
			return []reflect.Value{v.Field(i)}
		}), at)...)
	}
	return list
}

func each(values []reflect.Value, f func(reflect.Value) []reflect.Value) (list []reflect.Value) {
	for _, v := range values {
		list = append(list, f(v)...)
	}
	return list
}

// linuxLeaves are the fields of the spec that a Linux runtime reads, with what full.json sets.
func linuxLeaves(t *testing.T) (list []leaf) {
	t.Helper()
	spec := load(t, "full.json")
	for _, l := range leaves(reflect.TypeFor[specs.Spec](), []reflect.Value{reflect.ValueOf(*spec)}, "") {
		section, _, _ := strings.Cut(l.path, ".")
		other := false
		for _, f := range validatetest.Foreign {
			other = other || section == f
		}
		if !other {
			list = append(list, l)
		}
	}
	if len(list) < 150 {
		t.Fatalf("only %d fields found", len(list))
	}
	return list
}

// matches reports whether the path of a problem is one of the field.
func matches(field, path string) bool {
	for field != "" && path != "" {
		switch {
		case strings.HasPrefix(field, "[]"):
			i := strings.IndexByte(path, ']')
			if path[0] != '[' || i < 0 {
				return false
			}
			field, path = field[2:], path[i+1:]
		case strings.HasPrefix(field, ".*"):
			i := len(path)
			if j := strings.Index(path, `"]`); path[0] == '[' && j >= 0 {
				i = j + 2
			} else if j := strings.IndexByte(path[1:], '.'); j >= 0 {
				i = j + 1
			}
			field, path = field[2:], path[i:]
		case field[0] == path[0]:
			field, path = field[1:], path[1:]
		default:
			return false
		}
	}
	return field == path
}

func TestFullExampleSetsEveryField(t *testing.T) {
	unset := map[string]string{
		"process.scheduler.priority": "must be 0 with SCHED_DEADLINE",
		"process.user.username":      "only for Windows",
		"process.commandLine":        "only for Windows",
		"linux.personality.flags[]":  "none is defined",
	}
	for _, l := range linuxLeaves(t) {
		if _, ok := unset[l.path]; ok == l.set {
			t.Errorf("%s: set is %t in full.json", l.path, l.set)
		}
	}
}
