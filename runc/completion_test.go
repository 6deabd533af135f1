package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bashComplete returns what bash offers behind the words of a command line.
func bashComplete(t *testing.T, words ...string) string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	var script bytes.Buffer
	writeBash(&script, new(program).completables())
	// The runtime is a function: it answers `list -q`, and shows with what --root.
	script.WriteString(`
runc() { [ "$*" = "list -q" ] && echo one two; [ "$*" = "--root /r list -q" ] && echo three; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_runc
echo ${COMPREPLY[@]}
`)
	cmd := exec.Command(bash, append([]string{"--norc", "-c", script.String(), "bash"}, words...)...)
	cmd.Dir = t.TempDir()
	for _, name := range []string{"file.json", "folder/x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(cmd.Dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cmd.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBashCompletes(t *testing.T) {
	for line, want := range map[string]string{
		"runc pau|":                        "pause",
		"runc st|":                         "start state",
		"runc --log-f|":                    "--log-format",
		"runc --log-format |":              "text json",
		"runc --log-format = j|":           "json",
		"runc --rootless |":                "true false auto",
		"runc --log |":                     "file.json folder",
		"runc --root |":                    "folder",
		"runc state |":                     "one two",
		"runc state t|":                    "two",
		"runc --root /r state |":           "three",
		"runc --root = /r --debug state |": "three",
		"runc state one |":                 "",
		"runc kill one |":                  signals,
		"runc kill one K|":                 "KILL",
		"runc kill one KILL |":             "",
		"runc run --bundle |":              "folder",
		"runc run -b folder |":             "one two",
		"runc run --bundle folder --p|":    "--pidfd-socket --pid-file --preserve-fds",
		"runc run --pid-file |":            "file.json folder",
		"runc exec -t one fi|":             "file.json",
		"runc exec --env A=1 |":            "one two",
		"runc exec --process |":            "file.json folder",
		"runc list --format |":             "table json",
		"runc list |":                      "",
		"runc completion |":                shells,
		"runc nonsense |":                  "",
	} {
		words := strings.Split(strings.TrimSuffix(line, "|"), " ")
		if diff := cmp.Diff(want, bashComplete(t, words...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestBashCompletesEveryCommandAndFlag(t *testing.T) {
	var names []string
	for _, c := range new(program).completables() {
		if c.name == "" {
			continue
		}
		names = append(names, c.name)
		var flags []string
		for i := range c.flags {
			flags = append(flags, c.flags[i].dashed()...)
		}
		if diff := cmp.Diff(strings.Join(flags, " "), bashComplete(t, "runc", c.name, "-")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if diff := cmp.Diff(strings.Join(names, " "), bashComplete(t, "runc", "")); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestCompletionScriptsAreShell(t *testing.T) {
	all := new(program).completables()
	for shell, write := range map[string]func(*bytes.Buffer){
		"bash": func(b *bytes.Buffer) { writeBash(b, all) },
		"zsh":  func(b *bytes.Buffer) { writeZsh(b, all) },
		"fish": func(b *bytes.Buffer) { writeFish(b, all) },
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell + " is not installed")
			}
			var script bytes.Buffer
			write(&script)
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, script.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestFishCompletes asks fish itself, which can be asked.
func TestFishCompletes(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("fish is not installed")
	}
	var script bytes.Buffer
	writeFish(&script, new(program).completables())
	script.WriteString("\nfunction runc; test \"$argv\" = 'list -q'; and printf 'one\\ntwo\\n'; end\n")
	for line, want := range map[string]string{
		"runc pau": "pause", "runc --log-format ": "json", "runc state ": "one", "runc kill one K": "KILL", "runc list --form": "--format",
	} {
		cmd := exec.Command(fish, "--no-config", "-c", script.String()+"complete -C '"+line+"'")
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: no %s in %s (%v)", line, want, out, err)
		}
	}
}
