package main

import (
	"os"
	"strings"
	"testing"
)

// TestSuiteExceptionsAreReadable: hack/runc-suite takes a line that it can't read for none.
func TestSuiteExceptionsAreReadable(t *testing.T) {
	b, err := os.ReadFile("runc-suite.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		name, why, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || why == "" || !strings.Contains(name, ".bats: ") {
			t.Errorf("%q is not FILE.bats: CASE, a tab, and why", line)
		}
		if seen[name] {
			t.Errorf("%q is there twice", name)
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		t.Error("no exception is listed")
	}
}
