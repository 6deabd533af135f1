// Package features holds the list of what the runtime can do against the tests that prove it.
package features

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/features.md")

const (
	listFile = "features.txt"
	docFile  = "../../docs/features.md"
	top      = "../.."
)

// feature is one row.
type feature struct {
	name, answer, note, pending string
	tests                       []proof
	line                        int
}

// proof names a test.
type proof struct {
	dir, name string
	vm        bool
}

// parseList reads features.txt; what is wrong with it comes back as lines.
func parseList(text string) (rows []feature, problems []string) {
	var f *feature
	for i, line := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		wrong := func(what string) { problems = append(problems, fmt.Sprintf("%s:%d: %s", listFile, i+1, what)) }
		switch {
		case key == "" || strings.HasPrefix(key, "#"):
		case value == "":
			wrong(key + " says nothing")
		case key == "row":
			rows = append(rows, feature{name: value, line: i + 1})
			f = &rows[len(rows)-1]
		case f == nil:
			wrong(key + " before the first row")
		case key == "answer":
			f.answer = value
		case key == "note":
			f.note = value
		case key == "pending":
			f.pending = value
		case key == "test" || key == "vm":
			dir, name, ok := strings.Cut(value, " ")
			if !ok {
				wrong("a test is PACKAGE NAME")
			}
			f.tests = append(f.tests, proof{dir, name, key == "vm"})
		default:
			wrong("unknown word " + strconv.Quote(key))
		}
	}
	return rows, problems
}

// check says what a row lacks.
func (f *feature) check() []string {
	var lacks []string
	lack := func(when bool, what string) {
		if when {
			lacks = append(lacks, fmt.Sprintf("%s:%d: %s: %s", listFile, f.line, f.name, what))
		}
	}
	if f.pending != "" {
		lack(f.answer != "" || len(f.tests) > 0, "pending, and yet answered")
		return lacks
	}
	lack(!slices.Contains([]string{"yes", "partly", "no"}, f.answer), "the answer must be yes, partly or no")
	lack(f.answer != "yes" && f.note == "", "a note must say what is missing")
	lack(len(f.tests) == 0, "no test proves it")
	return lacks
}

// suite is what the tests of a package are called.
type suite struct {
	funcs    map[string]bool
	literals map[string][]string // by function: where the names of subtests are
}

func parseSuite(dir string) (*suite, error) {
	files, err := filepath.Glob(filepath.Join(top, dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no tests in %s", dir)
	}
	s := &suite{make(map[string]bool), make(map[string][]string)}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && isTest(fn.Name.Name) {
				s.funcs[fn.Name.Name] = true
				s.literals[fn.Name.Name] = literals(fn)
			}
		}
	}
	return s, nil
}

// isTest takes what go test runs: Main is none of it.
func isTest(name string) bool {
	return name != "TestMain" && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Example") || strings.HasPrefix(name, "Fuzz"))
}

func literals(fn *ast.FuncDecl) (list []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if value, err := strconv.Unquote(lit.Value); err == nil {
				list = append(list, value)
			}
		}
		return true
	})
	return list
}

// find says what is wrong with a proof, "" if it exists. A case is a txtar file of the
// package's testdata, or a string of the test.
func (s *suite) find(p proof) string {
	name, part, sub := strings.Cut(p.name, "/")
	switch {
	case !s.funcs[name]:
		return "no such test"
	case !sub || slices.Contains(s.literals[name], part):
		return ""
	}
	if _, err := os.Stat(filepath.Join(top, p.dir, "testdata", part+".txtar")); err != nil {
		return "the test has no case " + strconv.Quote(part)
	}
	return ""
}

// TestFeatures: each row is answered, each test that it names exists, and docs/features.md
// says the same. Rows that are pending are listed.
func TestFeatures(t *testing.T) {
	text, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	rows, problems := parseList(string(text))
	suites := make(map[string]*suite)
	seen := make(map[string]bool)
	for i := range rows {
		f := &rows[i]
		problems = append(problems, f.check()...)
		if seen[f.name] {
			problems = append(problems, f.name+": twice")
		}
		seen[f.name] = true
		if f.pending != "" {
			t.Logf("pending: %s: %s", f.name, f.pending)
		}
		for _, p := range f.tests {
			if suites[p.dir] == nil {
				if suites[p.dir], err = parseSuite(p.dir); err != nil {
					t.Fatal(err)
				}
			}
			if what := suites[p.dir].find(p); what != "" {
				problems = append(problems, fmt.Sprintf("%s: %s %s: %s", f.name, p.dir, p.name, what))
			}
		}
	}
	for _, p := range problems {
		t.Error(p)
	}
	compare(t, document(rows))
}

func compare(t *testing.T, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of date: go test ./tests/features -update (-want +got):\n%s", docFile, diff)
	}
}

const docHead = `# Features, and the tests that prove them

Generated from tests/features/features.txt by ` + "`go test ./tests/features -update`" + `; a test fails when
one that is named here does not exist. The rows are those of the table that compares runc, crun and youki:
what one of the first two has. Tests of tests/root and tests/attack start real containers and need root; **VM**
marks those that this development machine can't run in full.

`

// document is docs/features.md.
func document(rows []feature) string {
	count := make(map[string]int)
	var table strings.Builder
	table.WriteString("| feature | here | proved by |\n|---|---|---|\n")
	for i := range rows {
		f := &rows[i]
		answer := f.answer
		if f.pending != "" {
			answer = "pending"
		}
		count[answer]++
		if f.note != "" {
			answer += ": " + f.note
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", f.name, answer, f.proofs())
	}
	return docHead + fmt.Sprintf("%d rows: %d yes, %d partly, %d no, %d pending.\n\n",
		len(rows), count["yes"], count["partly"], count["no"], count["pending"]) + table.String()
}

// proofs lists the tests by package.
func (f *feature) proofs() string {
	var dirs []string
	names := make(map[string][]string)
	for _, p := range f.tests {
		if !slices.Contains(dirs, p.dir) {
			dirs = append(dirs, p.dir)
		}
		name := p.name
		if p.vm {
			name += " **VM**"
		}
		names[p.dir] = append(names[p.dir], name)
	}
	var parts []string
	for _, dir := range dirs {
		parts = append(parts, dir+": "+strings.Join(names[dir], ", "))
	}
	return strings.Join(parts, "<br>")
}

// TestTheCheckFails: for what it is there to find.
func TestTheCheckFails(t *testing.T) {
	_, problems := parseList("answer yes\nrow a\ncolour blue\ntest tests/root\nnote\n")
	if len(problems) != 4 {
		t.Errorf("%q, want four problems", problems)
	}
	for text, want := range map[string]string{
		"row a\nanswer yes\n": "no test proves it", "row a\nanswer maybe\nnote x\ntest a b\n": "the answer must be",
		"row a\nanswer no\ntest a b\n": "a note must say", "row a\npending x\nanswer yes\n": "pending, and yet",
	} {
		rows, _ := parseList(text)
		if got := rows[0].check(); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	s, err := parseSuite("libcontainer/plan")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"TestGolden": "", "TestGolden/minimal": "", "TestGolden/none": `the test has no case "none"`, "TestNone": "no such test",
	} {
		if got := s.find(proof{"libcontainer/plan", name, false}); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := parseSuite("docs"); err == nil {
		t.Error("a folder without tests is taken for a package")
	}
}
