package plan

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const planDoc = "../../docs/plan.md"

// TestCatalogueIsUpToDate holds the list of operations in docs/plan.md to the doc comments
// of this package; -update rewrites it.
func TestCatalogueIsUpToDate(t *testing.T) {
	text, err := os.ReadFile(planDoc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- ops: generated from the doc comments of package plan -->\n", "<!-- end of ops -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the catalogue", planDoc)
	}
	want := before + begin + catalogue(t) + end + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is out of date: go test ./libcontainer/plan -update", planDoc)
	}
	if err := os.WriteFile(planDoc, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// catalogue is a table of the exported structs of the action_*.go files that have a
// String method on their pointer: the operations.
func catalogue(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("action_*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range files {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	p, err := doc.NewFromFiles(fset, parsed, "plan")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| operation | what it does |\n|---|---|\n")
	for _, typ := range p.Types {
		if isAction(typ) {
			text := strings.Join(strings.Fields(typ.Doc), " ")
			b.WriteString("| " + typ.Name + " | " + strings.ReplaceAll(strings.TrimPrefix(text, typ.Name+" "), "|", `\|`) + " |\n")
		}
	}
	return b.String() + "\n"
}

// isAction reports whether a type is an operation, not a part of one: parts are named in
// the fields of operations.
func isAction(typ *doc.Type) bool {
	switch typ.Name {
	case "Cgroup", "DeviceRule", "Namespace", "TimeOffset", "IDMapping", "Source", "Device", "IDMap":
		return false
	}
	return len(typ.Methods) > 0
}
