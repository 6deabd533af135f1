package validate

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// anyValue are the fields of the spec, [] for each element and * for each key, that may
// have any value of their type, and why. The others are in badValues.
var anyValue = map[string]string{
	"process.terminal":                   "a switch",
	"process.noNewPrivileges":            "a switch",
	"process.user.username":              "only for Windows, ignored elsewhere",
	"process.commandLine":                "only for Windows, ignored elsewhere",
	"process.capabilities.bounding[]":    "unknown names are ignored with a warning",
	"process.capabilities.effective[]":   "unknown names are ignored with a warning",
	"process.capabilities.inheritable[]": "unknown names are ignored with a warning",
	"process.capabilities.permitted[]":   "unknown names are ignored with a warning",
	"process.capabilities.ambient[]":     "unknown names are ignored with a warning",
	"process.rlimits[].hard":             "checked against soft; every number is a limit",
	"annotations.*":                      "free text that no kernel sees",
	"root.readonly":                      "a switch, ignored with a warning without a mount namespace",

	"linux.timeOffsets.*.secs":                               "every offset that the clock can show is one; the kernel knows which",
	"linux.devices[].uid":                                    "every number is an id; in a user namespace owners are those of the host's node",
	"linux.devices[].gid":                                    "every number is an id; in a user namespace owners are those of the host's node",
	"linux.resources.devices[].allow":                        "a switch",
	"linux.resources.memory.disableOOMKiller":                "a switch",
	"linux.resources.memory.useHierarchy":                    "a switch",
	"linux.resources.memory.checkBeforeUpdate":               "a switch",
	"linux.resources.cpu.shares":                             "the kernel and the conversion to weights clamp it",
	"linux.resources.cpu.realtimePeriod":                     "checked against realtimeRuntime",
	"linux.resources.blockIO.throttleReadBpsDevice[].rate":   "every number is a rate",
	"linux.resources.blockIO.throttleWriteBpsDevice[].rate":  "every number is a rate",
	"linux.resources.blockIO.throttleReadIOPSDevice[].rate":  "every number is a rate",
	"linux.resources.blockIO.throttleWriteIOPSDevice[].rate": "every number is a rate",
	"linux.resources.hugepageLimits[].limit":                 "every number is a limit",
	"linux.resources.network.classID":                        "every number is a class",
	"linux.resources.network.priorities[].priority":          "every number is a priority",
	"linux.resources.rdma.*.hcaHandles":                      "every number is a limit",
	"linux.resources.rdma.*.hcaObjects":                      "every number is a limit",
	"linux.seccomp.listenerMetadata":                         "free text for the agent; checked against listenerPath",
	"linux.seccomp.syscalls[].args[].value":                  "every number can be compared",
	"linux.seccomp.syscalls[].args[].valueTwo":               "every number can be compared",
	"linux.intelRdt.enableMonitoring":                        "a switch",
	"linux.personality.flags[]":                              "ignored with a warning",
}

// foreign are sections for other platforms, ignored with a warning.
var foreign = []string{"solaris", "windows", "vm", "zos", "freebsd"}

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
		for _, f := range foreign {
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
