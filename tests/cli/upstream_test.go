package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// upstream is Debian's runc; /usr/sbin is where the package has it.
const upstream = "/usr/sbin/runc"

type result struct {
	Code   int
	Stdout string
	Msg    string // of the last error in the log
}

var message = regexp.MustCompile(`(?m)level=error msg=("(?:[^"\\]|\\.)*"|\S+)`)

// run runs a runtime in an own directory with an own, existing root.
func run(t *testing.T, program string, args ...string) result {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"--root", root}, args...)...)
	cmd.Args[0] = "runc" // runc prints the name it was called by
	cmd.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String()}
	if all := message.FindAllStringSubmatch(stderr.String(), -1); len(all) > 0 {
		// Old runcs have a newline behind some messages.
		r.Msg = strings.ReplaceAll(all[len(all)-1][1], `\n`, "")
	}
	return r
}

// TestSameAnswersAsUpstream compares exit code, stdout and error with those of the
// runtime that clients were written for.
func TestSameAnswersAsUpstream(t *testing.T) {
	if _, err := os.Stat(upstream); err != nil {
		t.Skip("Debian's runc is not installed")
	}
	for _, args := range []string{
		"list", "list -f json", "list --format=json", "list -q", "list -f xml",
		"state none", "state ..", "state a/b", "start none", "pause none", "resume none", "ps none",
		"kill none", "kill none 9", "kill none 9 --all", "delete none", "delete --force none", "delete none --force",
		"exec none true", "exec -t none true", "exec -p f none x", "foo", "foo bar", "help foo",
	} {
		t.Run(args, func(t *testing.T) {
			words := strings.Fields(args)
			theirs, ours := run(t, upstream, words...), run(t, binary, words...)
			if detail := strings.TrimSuffix(theirs.Msg, `"`) + ": "; strings.HasPrefix(ours.Msg, detail) {
				ours.Msg = theirs.Msg // ours says more, behind what clients know
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("answers (-upstream +ours):\n%s", diff)
			}
		})
	}
}

// TestSameRefusalsAsUpstream compares where the answer is a help text, which is our own.
func TestSameRefusalsAsUpstream(t *testing.T) {
	if _, err := os.Stat(upstream); err != nil {
		t.Skip("Debian's runc is not installed")
	}
	for _, args := range []string{
		"state", "state a b", "create", "create a b", "run", "run a b", "start", "delete", "delete -f", "delete a b -f",
		"kill", "kill a 9 b", "list x", "spec x", "pause", "pause a b", "resume", "ps", "exec",
		"list --bad", "create --bundle", "create --preserve-fds x c", "run -b /a --bundle /b c",
	} {
		t.Run(args, func(t *testing.T) {
			words := strings.Fields(args)
			theirs, ours := run(t, upstream, words...), run(t, binary, words...)
			for _, r := range []*result{&theirs, &ours} {
				if !strings.HasPrefix(r.Stdout, "Incorrect Usage") {
					t.Errorf("stdout is no help text: %q", r.Stdout)
				}
				r.Stdout = ""
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("refusals (-upstream +ours):\n%s", diff)
			}
		})
	}
}

// TestSameSpecAsUpstream compares the file that scripts edit. Known differences: the
// version, and the ambient capabilities that runc wrote until 1.1.
func TestSameSpecAsUpstream(t *testing.T) {
	if _, err := os.Stat(upstream); err != nil {
		t.Skip("Debian's runc is not installed")
	}
	version := regexp.MustCompile(`"ociVersion": "[^"]*"`)
	ambient := regexp.MustCompile(`,\n\t*"ambient": \[[^]]*\]`)
	for _, flag := range []string{"--rootless=false", "--rootless"} {
		t.Run(flag, func(t *testing.T) {
			var texts [2]string
			for i, program := range []string{upstream, binary} {
				dir := t.TempDir()
				if out, err := exec.Command(program, "spec", flag, "--bundle", dir).CombinedOutput(); err != nil {
					t.Fatalf("%s spec: %v: %s", program, err, out)
				}
				text, err := os.ReadFile(filepath.Join(dir, "config.json"))
				if err != nil {
					t.Fatal(err)
				}
				texts[i] = ambient.ReplaceAllString(version.ReplaceAllString(string(text), ""), "")
			}
			if diff := cmp.Diff(texts[0], texts[1]); diff != "" {
				t.Errorf("config.json (-upstream +ours):\n%s", diff)
			}
		})
	}
}
