package launch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/plan/plantest"
)

func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// notActions are structs of package plan's action files that are parts of operations.
var notActions = []string{"Cgroup", "DeviceRule", "Device", "Namespace", "TimeOffset", "IDMapping", "Source", "IDMap"}

// actionTypes are the operations that package plan declares.
func actionTypes(t *testing.T) (types []string) {
	t.Helper()
	files, err := filepath.Glob("../plan/action_*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no action files: %v", err)
	}
	for _, name := range files {
		for _, decl := range parseFile(t, name).Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				if n := spec.(*ast.TypeSpec).Name.Name; !slices.Contains(notActions, n) {
					types = append(types, n)
				}
			}
		}
	}
	return types
}

// handled are the operations that the type switches of a file have a case for.
func handled(t *testing.T, files ...string) (types []string) {
	t.Helper()
	for _, name := range files {
		ast.Inspect(parseFile(t, name), func(n ast.Node) bool {
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, expr := range clause.List {
				if star, ok := expr.(*ast.StarExpr); ok {
					if sel, ok := star.X.(*ast.SelectorExpr); ok && fmt.Sprint(sel.X) == "plan" {
						types = append(types, sel.Sel.Name)
					}
				}
			}
			return true
		})
	}
	return types
}

func typeName(a plan.Action) string { return fmt.Sprintf("%T", a)[len("*plan."):] }

// TestEveryOperationIsCarriedOut: each one that package plan declares is lowered for the
// child or performed by the runtime, and by the one that the golden plans say acts.
func TestEveryOperationIsCarriedOut(t *testing.T) {
	child := handled(t, "lower.go")
	performed := append(handled(t, "perform.go", "../create.go", "../exec.go"), "Clone") // Clone is split's
	types := actionTypes(t)
	if len(types) < 40 {
		t.Fatalf("only %d operations found", len(types))
	}
	for _, n := range types {
		if !slices.Contains(child, n) && !slices.Contains(performed, n) {
			t.Errorf("%s: nobody carries it out", n)
		}
	}
	seen := make(map[string]bool)
	plans := []*plan.Plan{hookPlan(&specs.Hook{Path: "/h"}, &Target{Namespaces: []string{"pid", "mount"}}, "/bundle/rootfs")}
	for _, c := range plantest.Load(t, "../plan/testdata") {
		if p, err := c.Plan(); err == nil {
			plans = append(plans, p)
		}
	}
	for _, p := range plans {
		for i := range p.Ops {
			op := &p.Ops[i]
			n := typeName(op.Do)
			seen[n] = true
			by := child
			if op.Actor == plan.Runtime {
				by = performed
			}
			if !slices.Contains(by, n) {
				t.Errorf("%s: the %s can't carry it out", n, op.Actor)
			}
		}
	}
	for _, n := range types {
		if !seen[n] {
			t.Errorf("%s: no golden plan has it", n)
		}
	}
}

// TestExecPlansArePerformed: exec has no more than its own performers.
func TestExecPlansArePerformed(t *testing.T) {
	performed := append(handled(t, "perform.go", "../exec.go"), "Clone")
	for _, c := range plantest.Load(t, "../plan/testdata") {
		p, err := c.Plan()
		if c.Exec == nil || err != nil {
			continue
		}
		for i := range p.Ops {
			if op := &p.Ops[i]; op.Actor == plan.Runtime && !slices.Contains(performed, typeName(op.Do)) {
				t.Errorf("%s: %s: exec does not perform it", c.Name, typeName(op.Do))
			}
		}
	}
}
