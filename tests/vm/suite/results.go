package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
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
	out                     io.Writer // for people
	passed, failed, skipped int
	ran                     int   // tests of this package
	mayBeEmpty              bool  // a package of which nothing runs is no failure
	maySkip                 bool  // any test may be skipped
	exit                    error // of the machine
	began                   time.Time
	took                    time.Duration
	output                  map[string]*strings.Builder // what unfinished tests have said
	reasons                 map[string]int              // how many tests were skipped for it
	times                   []timing                    // of tests, without subtests
	failures                map[string][]string         // tests that failed, without subtests, by package
	final                   bool                        // something failed that a second try would not change
	again                   []string                    // what passed at the second try
}

// timing is how long a test took.
type timing struct {
	name    string
	seconds float64
}

// read takes the events one by one, and shows what failed.
func (r *results) read(from io.Reader) error {
	r.output = map[string]*strings.Builder{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintf(r.out, "%s: %s\n", r.boot, lines.Text())
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
	r.ran++
	if !strings.Contains(e.Test, "/") {
		r.times = append(r.times, timing{name, e.Elapsed})
	}
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		why := reason(said)
		if !r.maySkip && !excuses.MatchString(why) {
			r.failed++
			r.final = true
			fmt.Fprintf(r.out, "%s: FAIL %s: it was skipped, and need not be here: %s\n", r.boot, name, why)
			return
		}
		r.skipped++
		if r.reasons == nil {
			r.reasons = map[string]int{}
		}
		r.reasons[why]++
	case "fail":
		r.failed++
		r.remember(e)
		fmt.Fprintf(r.out, "%s: FAIL %s\n%s", r.boot, name, said)
	}
}

// endPackage shows what a package says for itself only if it failed: a panic, a timeout. Where
// nothing ran, a pattern has lost its tests.
func (r *results) endPackage(e *event, said string) {
	fmt.Fprintf(r.out, "%s: %s %s (%.0f s)\n", r.boot, e.Action, e.Package, e.Elapsed)
	if e.Action == "fail" {
		r.failed++
		r.final = r.final || len(r.failures[e.Package]) == 0
		fmt.Fprint(r.out, said)
	} else if r.ran == 0 && !r.mayBeEmpty {
		r.failed++
		r.final = true
		fmt.Fprintf(r.out, "%s: FAIL %s: no test of it ran\n", r.boot, e.Package)
	}
	r.ran = 0
}

// place is where a test said something: "file_test.go:12: ".
var place = regexp.MustCompile(`\b\w+\.go:\d+: `)

// reason is what a skipped test said, without the frame that go test puts around it.
func reason(said string) string {
	var words []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	return place.ReplaceAllString(strings.Join(words, " "), "")
}

// slowest are the tests that take the most time.
func (r *results) slowest() []timing {
	slices.SortFunc(r.times, func(a, b timing) int { return cmp.Compare(b.seconds, a.seconds) })
	return r.times[:min(5, len(r.times))]
}

// summarize prints a line for each boot, its slowest tests, and why tests were skipped, and
// says whether all went well. A boot in which no test passed proves nothing, so it hasn't.
func summarize(w io.Writer, all []*results) bool {
	ok := true
	for _, r := range all {
		for _, t := range r.slowest() {
			fmt.Fprintf(w, "%s: %s took %.0f s\n", r.boot, t.name, t.seconds)
		}
		for _, why := range slices.Sorted(maps.Keys(r.reasons)) {
			fmt.Fprintf(w, "%s: skipped %d: %s\n", r.boot, r.reasons[why], why)
		}
	}
	fmt.Fprintf(w, "\n%-10s %7s %7s %7s %8s\n", "boot", "passed", "failed", "skipped", "time")
	for _, r := range all {
		note := ""
		if r.exit != nil || r.failed > 0 || r.passed == 0 {
			ok = false
			note = "  failed"
			if r.exit != nil {
				note += ": the machine: " + r.exit.Error()
			}
		} else if len(r.again) > 0 {
			note = "  at the second try: " + strings.Join(r.again, ", ")
		}
		fmt.Fprintf(w, "%-10s %7d %7d %7d %8s%s\n", r.boot, r.passed, r.failed, r.skipped, r.took.Round(time.Second), note)
	}
	return ok
}
