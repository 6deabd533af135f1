package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

const fieldsDoc = "../../docs/spec-conformance.md"

// fullConfig sets every field that a Linux runtime reads; package validate holds it to that.
const fullConfig = "../validate/testdata/full.json"

// elsewhere are the fields, or with a "." at the end the objects, that no plan depends on,
// and who reads them.
var elsewhere = map[string]string{
	"ociVersion":     "checked by validate",
	"root.path":      "resolved by the facade: Input.Rootfs",
	"hooks.":         "the plan has how many there are and when; the facade runs them",
	"annotations.":   "kept in the state, for clients",
	"linux.seccomp.": "compiled by package seccomp: Input.Seccomp",
	"linux.resources.memory.checkBeforeUpdate": "about changing limits later; a new container has none to check",
	"process.execCPUAffinity.":                 "for processes that exec adds: Exec has SetCPUAffinity",
	"linux.personality.flags[]":                "none is supported; a warning",
	"process.user.username":                    "for Windows",
	"process.commandLine":                      "for Windows",
	"solaris.":                                 "another platform; a warning",
	"windows.":                                 "another platform; a warning",
	"vm.":                                      "another platform; a warning",
	"zos.":                                     "another platform; a warning",
	"freebsd.":                                 "another platform; a warning",
}

// without are the parts of fullConfig that a machine refuses: the other one has them.
var without = map[string][]string{
	"v1": {"linux.resources.unified"},
	"v2": {
		"linux.resources.network", "linux.resources.memory.swappiness", "linux.resources.memory.disableOOMKiller",
		"linux.resources.cpu.realtimeRuntime", "linux.resources.cpu.realtimePeriod",
		"linux.resources.blockIO.leafWeight", "linux.resources.blockIO.weightDevice[].leafWeight",
	},
}

// fields lists the leaves of a type of the spec, [] for each element and * for each key.
func fields(t reflect.Type, path string) (list []string) {
	switch t.Kind() {
	case reflect.Pointer:
		return fields(t.Elem(), path)
	case reflect.Slice:
		return fields(t.Elem(), path+"[]")
	case reflect.Map:
		return fields(t.Elem(), path+".*")
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			at := strings.TrimPrefix(path+"."+name, ".")
			if f.Anonymous {
				at = path
			}
			list = append(list, fields(f.Type, at)...)
		}
		return list
	}
	return []string{path}
}

// TestEveryFieldIsAccountedFor changes each field of a config that sets them all: the plan
// must change with it, or name it in an error, or the field must be in elsewhere.
// -update writes what came out to docs/spec-conformance.md.
func TestEveryFieldIsAccountedFor(t *testing.T) {
	var b strings.Builder
	b.WriteString(fieldsHead)
	used := make(map[string]bool)
	golden := goldenCases(t)
	for _, field := range fields(reflect.TypeFor[specs.Spec](), "") {
		how, key := readElsewhere(field)
		first := !used[key]
		used[key] = true
		ops := changes(t, field)
		switch {
		case how != "" && len(ops) > 0:
			t.Errorf("%s: %s, says the list, but the plan depends on it: %v", field, how, ops)
		case how != "":
		case len(ops) > 0:
			how = strings.Join(ops, ", ")
		default:
			t.Errorf("%s: whatever it says, the plan is the same", field)
		}
		if object, ok := strings.CutSuffix(key, "."); ok {
			field = object
		} else {
			first = true
		}
		if first {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", field, how, golden.of(field), badValues(field))
		}
	}
	for key := range elsewhere {
		if !used[key] {
			t.Errorf("%s: the spec has no such field", key)
		}
	}
	compare(t, fieldsDoc, b.String())
}

// compare holds a generated document to its file; -update rewrites it.
func compare(t *testing.T, file, want string) {
	t.Helper()
	if updating() {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date: go test ./libcontainer/plan -update", file)
	}
}

func readElsewhere(field string) (how, key string) {
	for key, how := range elsewhere {
		if field == key || strings.HasSuffix(key, ".") && strings.HasPrefix(field, key) {
			return how, key
		}
	}
	return "", ""
}

// changes names the operations that are not the same once the field is changed, wherever
// the config has it, on a machine of each kind.
func changes(t *testing.T, field string) []string {
	t.Helper()
	ops := make(map[string]bool)
	for _, name := range []string{"v1", "v2"} {
		base := lines(t, name, fullTree(t, name))
		for i := 0; ; i++ {
			tree := fullTree(t, name)
			if !change(tree, field, &i) {
				break
			}
			onlyIn(base, lines(t, name, tree), ops)
			onlyIn(lines(t, name, tree), base, ops)
		}
	}
	list := make([]string, 0, len(ops))
	for op := range ops {
		list = append(list, op)
	}
	slices.Sort(list)
	return list
}

// onlyIn adds to ops the operations of the lines that the first has and the second has not.
func onlyIn(a, b map[string]string, ops map[string]bool) {
	for line, op := range a {
		if _, same := b[line]; !same {
			ops[op] = true
		}
	}
}

// lines are the operations of a config's plan with all that JSON shows of them.
func lines(t *testing.T, name string, tree any) map[string]string {
	t.Helper()
	p, err := compileTree(t, name, tree)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	m := make(map[string]string)
	for i := range p.Ops {
		op := &p.Ops[i]
		text, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		m[fmt.Sprintf("%T %s", op.Do, text)] = kind(op.Do)
	}
	return m
}

func compileTree(t *testing.T, name string, tree any) (*plan.Plan, error) {
	t.Helper()
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	spec := new(specs.Spec)
	if err := json.Unmarshal(text, spec); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	facts := machine(t, name)
	facts.LSM = host.LSM{AppArmor: true, SELinux: true}
	return plan.Create(&plan.Input{Spec: spec, Facts: facts, ID: "box", Bundle: "/bundle", Rootfs: "/bundle/rootfs"})
}

// fullTree is fullConfig but for what the machine refuses.
func fullTree(t *testing.T, machine string) any {
	t.Helper()
	tree := rawTree(t)
	for _, r := range without[machine] {
		remove(tree, r)
	}
	return tree
}

func rawTree(t *testing.T) any {
	t.Helper()
	text, err := os.ReadFile(fullConfig)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return tree
}
