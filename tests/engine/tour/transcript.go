// Package tour has the docker CLI type the same commands at our engine and at moby's, and compares what it prints.
package tour

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/gantry-containers/gantry/tests/harness"
)

// Script is one file of testdata: a line is a command of the shell, and files lie in the folder that they run in.
type Script struct {
	Name  string
	Lines []string
	files []txtar.File
}

// Read reads a script. Lines that end in a backslash go on.
func Read(path string) (*Script, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	s := &Script{Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), files: archive.Files}
	joined := strings.ReplaceAll(string(archive.Comment), "\\\n", "")
	for line := range strings.Lines(joined) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			s.Lines = append(s.Lines, line)
		}
	}
	return s, nil
}

// unpack writes the script's files.
func (s *Script) unpack(dir string) error {
	for _, f := range s.files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o755); err != nil {
			return err
		}
		// Builders compare times, and layers have them.
		if err := os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
			return err
		}
	}
	return nil
}

// Entry is a command and what came of it, masked.
type Entry struct {
	Command string
	Output  string
	Took    time.Duration
}

// Run types the script's lines, each in a shell of its own.
func (s *Script) Run(t testing.TB, env []string) []Entry {
	t.Helper()
	dir := t.TempDir()
	if err := s.unpack(dir); err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for _, line := range s.Lines {
		began := time.Now()
		output := run(dir, line, env)
		entries = append(entries, Entry{line, mask(output, dir), time.Since(began)})
	}
	return entries
}

// run is one command: what it printed and its exit code.
func run(dir, line string, env []string) string {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	hung := time.AfterFunc(harness.Limit(60*time.Second), func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	_ = cmd.Wait() // the exit code tells
	var b strings.Builder
	b.Write(out.Bytes())
	for line := range strings.Lines(errs.String()) {
		fmt.Fprintf(&b, "! %s", line)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		fmt.Fprintf(&b, "exit %d\n", code)
	}
	return b.String()
}
