package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestModuleIsFoundAsProgramsAre(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first/none", "second/app.wasm", "third/app.wasm"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(dir, "third"))
	path := "PATH=" + dir + "/first:" + dir + "/second:" + dir + "/third"
	for _, tc := range []struct {
		name string
		env  []string
		want string // or the error's end
	}{
		{"app.wasm", []string{path}, "second/app.wasm"},
		{"app.wasm", []string{"PATH=/none", path}, "second/app.wasm"},
		{"./app.wasm", []string{path}, "third/app.wasm"},
		{dir + "/third/app.wasm", nil, "third/app.wasm"},
		{"none.wasm", []string{path}, "none.wasm: not found in $PATH"},
		{"./none.wasm", []string{path}, "no such file or directory"},
		{dir, nil, "not a regular file"},
	} {
		b, err := read(tc.name, tc.env)
		if err != nil && strings.HasSuffix(err.Error(), tc.want) {
			continue
		}
		if err != nil || string(b) != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, b, err, tc.want)
		}
	}
}

func TestWhatIsNoModuleIsNamed(t *testing.T) {
	for content, want := range map[string]string{
		"":                                 "not a WebAssembly module",
		"\x00asm\x01\x00\x00":              "not a WebAssembly module",
		"\x7fELF\x02\x01\x01\x00\x00\x00":  "not a WebAssembly module",
		"(module)":                         "not a WebAssembly module",
		"\x00asm\x0d\x00\x01\x00":          "a WebAssembly component; modules of WASI preview 1 are supported",
		"\x00asm\x01\x00\x00\x00":          "",
		"\x00asm\x01\x00\x00\x00\x01\x02x": "",
	} {
		got := ""
		if err := check([]byte(content)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", content, got, want)
		}
	}
}

// A module without a start function ends at once, with success; what is no code is no module,
// and a trap is an abort.
func TestExitStatus(t *testing.T) {
	const head = "\x00asm\x01\x00\x00\x00"
	// (module (func (export "_start") unreachable))
	const trap = head + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x05\x01\x03\x00\x00\x0b"
	for name, tc := range map[string]struct {
		module string
		want   int
		words  string
	}{
		"empty":   {head, 0, ""},
		"damaged": {head + "\xff", exitNotExecutable, "app.wasm: "},
		"trap":    {trap, exitTrap, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			status, err := execute([]byte(tc.module), []string{"app.wasm"}, nil)
			if status != tc.want || (err == nil) != (tc.words == "") || err != nil && !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%d, %v", status, err)
			}
		})
	}
}
