package fault

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const errorsDoc = "../../docs/errors.md"

// declared are the codes in code.go, in order.
func declared(t *testing.T) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, text)
		}
		return true
	})
	return codes
}

func TestCodesListsWhatIsDeclared(t *testing.T) {
	var listed []string
	for _, code := range Codes() {
		listed = append(listed, string(code))
	}
	if diff := cmp.Diff(declared(t), listed); diff != "" {
		t.Errorf("code.go and Codes (-source +Codes):\n%s", diff)
	}
}

func TestTheDocumentListsExactlyTheCodes(t *testing.T) {
	text, err := os.ReadFile(errorsDoc)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|[^|\n]*\\|[^|\n]*\\|[^|\n]*\\|$").FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, row[1])
	}
	if diff := cmp.Diff(declared(t), listed); diff != "" {
		t.Errorf("code.go and docs/errors.md (-source +document):\n%s", diff)
	}
}
