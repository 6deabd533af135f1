package main

import (
	"fmt"
	"strings"
)

// table prints the results as they come and keeps the sums.
type table struct {
	opts               options
	known              map[string]string
	ours, peer         tally
	unexpected, behind []string
}

type tally struct{ passed, failed int }

func (t *tally) add(r *result) {
	if r.passed() {
		t.passed++
	} else {
		t.failed++
	}
}

func newTable(opts options, known map[string]string) *table {
	return &table{opts: opts, known: known}
}

func (t *table) header() {
	fmt.Printf("ours: %s\npeer: %s\n\n", t.opts.runtime, t.opts.peer)
	fmt.Printf("%-32s %-20s %-20s\n", "program", "ours", "peer")
}

// row prints one program. A * marks a program whose root file system was repaired.
func (t *table) row(name string, ours, peer *result) {
	label := name
	if repairs[name] != nil && !t.opts.stock {
		label += " *"
	}
	note, peerCell := "", "-"
	if peer != nil {
		t.peer.add(peer)
		peerCell = cell(peer)
	}
	t.ours.add(ours)
	reason, listed := t.known[name]
	if strings.HasPrefix(reason, notMounted) && len(t.opts.controllers) > 0 {
		listed = false
	}
	switch {
	case listed && ours.passed():
		t.behind = append(t.behind, name)
		note = "listed in known.txt, but passes"
	case listed:
		note = "known"
	case !ours.passed():
		t.unexpected = append(t.unexpected, name)
		note = "NOT KNOWN"
	}
	fmt.Println(strings.TrimRight(fmt.Sprintf("%-32s %-20s %-20s %s", label, cell(ours), peerCell, note), " "))
	if t.opts.verbose {
		printDetails("ours", ours)
		if peer != nil {
			printDetails("peer", peer)
		}
	}
}

// cell is "pass 7/7" (passed of all test points that weren't skipped), with what was skipped or left behind.
func cell(r *result) string {
	word := "pass"
	if !r.passed() {
		word = "FAIL"
	}
	if r.died != "" {
		word = "DIED"
	}
	text := fmt.Sprintf("%s %d/%d", word, r.tap.passed, r.tap.passed+r.tap.failed)
	if len(r.left) > 0 {
		text += fmt.Sprintf(" left %d", len(r.left))
	}
	return text
}

func printDetails(side string, r *result) {
	if r.died != "" {
		fmt.Printf("    %s: %s\n", side, r.died)
	}
	for _, line := range r.tap.lines {
		const width = 300 // a diagnostic may hold a container's whole output
		if len(line) > width {
			line = line[:width] + "..."
		}
		fmt.Printf("    %s: %s\n", side, line)
	}
	for _, what := range r.left {
		fmt.Printf("    %s: left behind: %s\n", side, what)
	}
}

// totals prints the closing lines and reports whether the results agree with the list of known failures.
func (t *table) totals() bool {
	fmt.Println()
	if len(t.unexpected) > 0 {
		fmt.Println("failed, and not in known.txt:", strings.Join(t.unexpected, ", "))
	}
	if len(t.behind) > 0 {
		fmt.Println("in known.txt, and passed:", strings.Join(t.behind, ", "))
	}
	if t.opts.peer != "" {
		fmt.Printf("peer: %d passed, %d failed\n", t.peer.passed, t.peer.failed)
	}
	fmt.Printf("ours: %d passed, %d failed\n", t.ours.passed, t.ours.failed)
	return len(t.unexpected) == 0 && len(t.behind) == 0
}
