package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// event is a line of test2json: see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// results are the outcomes of one boot, subtests among them.
type results struct {
	boot                    string
	passed, failed, skipped int
	exit                    error // of the machine
	began                   time.Time
	took                    time.Duration
	output                  map[string]*strings.Builder // what unfinished tests have said
}

// read takes the events one by one, and shows what failed and why something was skipped.
func (r *results) read(from io.Reader) error {
	r.output = map[string]*strings.Builder{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintf(os.Stdout, "%s: %s\n", r.boot, lines.Text())
			continue
		}
		r.take(&e)
	}
	return lines.Err()
}

func (r *results) take(e *event) {
	name := e.Package
	if e.Test != "" {
		name += " " + e.Test
	}
	switch e.Action {
	case "output":
		if r.output[name] == nil {
			r.output[name] = &strings.Builder{}
		}
		r.output[name].WriteString(e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	said := ""
	if b := r.output[name]; b != nil {
		said = b.String()
	}
	delete(r.output, name)
	if e.Test == "" {
		r.endPackage(e, said)
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
		fmt.Fprintf(os.Stdout, "%s: SKIP %s: %s\n", r.boot, name, reason(said))
	case "fail":
		r.failed++
		fmt.Fprintf(os.Stdout, "%s: FAIL %s\n%s", r.boot, name, said)
	}
}

// endPackage shows what a package says for itself only if it failed: a panic, a timeout.
func (r *results) endPackage(e *event, said string) {
	fmt.Fprintf(os.Stdout, "%s: %s %s (%.0f s)\n", r.boot, e.Action, e.Package, e.Elapsed)
	if e.Action == "fail" {
		r.failed++
		fmt.Fprint(os.Stdout, said)
	}
}

// reason is what a skipped test said, without the frame that go test puts around it.
func reason(said string) string {
	var words []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}

// summarize prints a line for each boot, and says whether all went well. A boot in which no
// test passed proves nothing, so it hasn't gone well.
func summarize(w io.Writer, all []*results) bool {
	ok := true
	fmt.Fprintf(w, "\n%-10s %7s %7s %7s %8s\n", "boot", "passed", "failed", "skipped", "time")
	for _, r := range all {
		note := ""
		if r.exit != nil || r.failed > 0 || r.passed == 0 {
			ok = false
			note = "  failed"
			if r.exit != nil {
				note += ": the machine: " + r.exit.Error()
			}
		}
		fmt.Fprintf(w, "%-10s %7d %7d %7d %8s%s\n", r.boot, r.passed, r.failed, r.skipped, r.took.Round(time.Second), note)
	}
	return ok
}
