package fault

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fieldInText is a new error whose text begins with a flag or a JSON path.
var fieldInText = regexp.MustCompile(`(?:fmt\.Errorf|errors\.New)\("(?:--[a-z]|(?:process|root|mounts|hooks|linux|annotations|hostname|domainname|ociVersion)(?:[.\[]|: |\.?%))`)

// TestFieldsAreNotOnlyInTexts: a program would have to take the text apart.
func TestFieldsAreNotOnlyInTexts(t *testing.T) {
	files := 0
	for _, tree := range []string{"..", "../../runc"} {
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			for i, line := range strings.Split(string(text), "\n") {
				if fieldInText.MatchString(line) && !strings.Contains(line, "fault.") {
					t.Errorf("%s:%d: the field is in the text alone, use package fault: %s", path, i+1, strings.TrimSpace(line))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files found", files)
	}
	if !fieldInText.MatchString(`return fmt.Errorf("--pid-file: %w", err)`) || !fieldInText.MatchString(`errors.New("linux.seccomp: no")`) {
		t.Error("the pattern finds nothing")
	}
}
