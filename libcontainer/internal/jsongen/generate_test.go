package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module makes a module with one package, from the text of its only file.
func module(t *testing.T, source string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/m\n\ngo 1.26\n", "types.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUnsupportedTypesAreErrors(t *testing.T) {
	tests := map[string]struct{ source, want string }{
		"an interface":               {"type T struct { F any }", "T.F: type any is not supported"},
		"a float":                    {"type T struct { F []float64 }", "T.F: type float64 is not supported"},
		"an array":                   {"type T struct { F [2]int }", "T.F: type [2]int is not supported"},
		"bytes":                      {"type T struct { F []byte }", "T.F: type []byte is not supported"},
		"a map with numbers as keys": {"type T struct { F map[int]string }", "T.F: type map[int]string is not supported"},
		"a struct without a name":    {"type T struct { F struct{ A int } }", "is not supported"},
		"a type that marshals itself": {
			"type T struct { F *U }\ntype U string\nfunc (U) MarshalText() ([]byte, error) { return nil, nil }",
			"U has a method MarshalText",
		},
		"the option string":            {"type T struct { F int `json:\"f,string\"` }", `field F: json option "string" is not supported`},
		"two fields of one key":        {"type T struct { F int `json:\"a\"`; G int `json:\"a\"` }", `two fields have the key "a"`},
		"a key that needs escapes":     {"type T struct { F int `json:\"ä\"` }", `key "ä" needs escapes`},
		"an embedded pointer":          {"type T struct { *U }\ntype U struct { A int }", "embedded U is not a struct"},
		"a tag on an unexported field": {"type T struct { f int `json:\"f\"` }", "field f has a json tag but is not exported"},
		"a type that is not there":     {"type U struct{}", "example.com/m has no type T"},
		"a type that is not a struct":  {"type T int", "example.com/m.T is not a struct"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := module(t, "package m\n\n"+test.source+"\n")
			_, err := generate(dir, &config{out: "gen.go", decode: []string{"T"}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestKeptAndSkippedFieldsMustExist(t *testing.T) {
	dir := module(t, "package m\n\ntype T struct { A *U; B *U }\ntype U struct { C int }\n")
	source, err := generate(dir, &config{decode: []string{"T"}, keep: []string{"T.A"}, present: []string{"T.B"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"r.KeepObject()", "v.B = new(U)", "r.Kept = nil"} {
		if !strings.Contains(string(source), want) {
			t.Errorf("no %s in\n%s", want, source)
		}
	}
	if strings.Contains(string(source), "decodeU") {
		t.Error("a decoder that nothing calls")
	}
	_, err = generate(dir, &config{decode: []string{"T"}, keep: []string{"T.X"}})
	if err == nil || err.Error() != "there is no field T.X to keep or skip" {
		t.Error(err)
	}
}

func TestPackageThatNeedsItsGeneratedCodeIsNoProblem(t *testing.T) {
	dir := module(t, "package m\n\ntype T struct { A int }\n\nvar _ = decodeT\n\nfunc use(v *T) []byte { return appendT(nil, v) }\n")
	// A generated file that is damaged must not matter either.
	if err := os.WriteFile(filepath.Join(dir, "gen.go"), []byte("package m\n\nfunc {"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(dir, &config{out: "gen.go", decode: []string{"T"}, encode: []string{"T"}}); err != nil {
		t.Error(err)
	}
}

func TestCheckComparesWithTheFile(t *testing.T) {
	c := &config{out: filepath.Join(t.TempDir(), "gen.go")}
	if err := c.deliver([]byte("a")); err != nil {
		t.Fatal(err)
	}
	c.check = true
	if err := c.deliver([]byte("a")); err != nil {
		t.Error(err)
	}
	if err := c.deliver([]byte("b")); err == nil || !strings.Contains(err.Error(), "not up to date") {
		t.Error(err)
	}
}
