package apidiff

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Report collects differences: each line once for an operation, with the first request that had it.
type Report struct {
	known []exception

	mu       sync.Mutex
	found    map[string][]*finding // by operation
	requests int
	statuses map[int]int // moby's
}

type finding struct {
	line     string
	requests []string // the first ones
	versions []string
	times    int
}

// exception is a difference that has a reason.
type exception struct{ request, line *regexp.Regexp }

// NewReport reads testdata/known.txt: a pattern of requests, a tab, a pattern of difference lines, a tab, the reason.
func NewReport(t *testing.T) *Report {
	t.Helper()
	content, err := os.ReadFile("testdata/known.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{found: map[string][]*finding{}, statuses: map[int]int{}}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		part := strings.Split(line, "\t")
		if len(part) != 3 {
			t.Fatalf("testdata/known.txt: %q is not request, line and reason", line)
		}
		r.known = append(r.known, exception{regexp.MustCompile(part[0]), regexp.MustCompile(part[1])})
	}
	return r
}

// Compare notes how two answers to a request differ.
func (r *Report) Compare(operation, request, version string, want, got *Answer) {
	lines := differences(want, got)
	r.mu.Lock()
	r.requests++
	r.statuses[want.Status]++
	r.mu.Unlock()
	r.add(operation, request, version, lines)
}

func (r *Report) add(operation, request, version string, lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range lines {
		if slices.ContainsFunc(r.known, func(e exception) bool {
			return e.request.MatchString(request) && e.line.MatchString(line)
		}) {
			continue
		}
		i := slices.IndexFunc(r.found[operation], func(f *finding) bool { return f.line == line })
		if i < 0 {
			i = len(r.found[operation])
			r.found[operation] = append(r.found[operation], &finding{line: line})
		}
		f := r.found[operation][i]
		if f.times++; len(f.requests) < 4 && !slices.Contains(f.requests, request) {
			f.requests = append(f.requests, request)
		}
		if !slices.Contains(f.versions, version) {
			f.versions = append(f.versions, version)
		}
	}
}

// Tell fails for what was found of an operation.
func (r *Report) Tell(t *testing.T, operation string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	last := ""
	for _, f := range r.found[operation] {
		if requests := strings.Join(f.requests, "\n"); requests != last {
			t.Errorf("-moby +gantry of\n%s", requests)
			last = requests
		}
		t.Errorf("\t%s (%d times, %s)", f.line, f.times, strings.Join(f.versions, " "))
	}
}

// differences are lines that only one of two answers has.
func differences(want, got *Answer) []string {
	var lines []string
	same := func(string) bool { return true }
	if want.Status != got.Status {
		lines = append(lines, fmt.Sprintf("-status %d +status %d", want.Status, got.Status))
		same = func(line string) bool { return strings.HasPrefix(line, ".message") } // the rest is of course another
	}
	for _, name := range compared {
		if want.Headers[name] != got.Headers[name] {
			lines = append(lines, fmt.Sprintf("-%s %q +%q", name, want.Headers[name], got.Headers[name]))
		}
	}
	for _, line := range want.Lines {
		if same(line) && !slices.Contains(got.Lines, line) {
			lines = append(lines, "-"+line)
		}
	}
	for _, line := range got.Lines {
		if same(line) && !slices.Contains(want.Lines, line) {
			lines = append(lines, "+"+line)
		}
	}
	return lines
}
