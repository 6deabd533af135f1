package main

import (
	"bufio"
	"io"
	"strings"
)

// tapReport is what a program said in TAP version 13 (https://testanything.org/tap-version-13-specification.html).
type tapReport struct {
	passed  int
	skipped int
	failed  int
	// lines holds each failing test point with its diagnostics, and errors that a program prints without a test point.
	lines []string
	// header and plan tell a program that ended in the middle from one that prints no TAP at all.
	header, plan bool
}

// parseTAP reads TAP. Test points count at column 0 only: a program may quote another one's output in a diagnostic
// block. Some programs of runtime-tools report their only failure in a block that belongs to no test point.
func parseTAP(r io.Reader) tapReport {
	var t tapReport
	failing, afterPoint := false, false
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20) // a diagnostic block holds the whole output of a container on one line
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "ok "), strings.HasPrefix(line, "not ok "):
			failing = t.point(line)
			afterPoint = true
		case strings.HasPrefix(line, "TAP version"):
			t.header = true
			failing, afterPoint = false, false
		case strings.HasPrefix(line, "1.."):
			t.plan = true
			failing, afterPoint = false, false
		case failing:
			t.lines = append(t.lines, line)
		case !afterPoint && strings.HasPrefix(strings.TrimSpace(line), `"error":`):
			t.failed++
			t.lines = append(t.lines, strings.TrimSpace(line))
		}
	}
	return t
}

// point counts one test point and reports whether it failed. TODO points never fail, as TAP has it.
func (t *tapReport) point(line string) bool {
	directive := strings.ToUpper(line)
	switch {
	case strings.Contains(directive, "# SKIP"):
		t.skipped++
	case strings.HasPrefix(line, "ok "), strings.Contains(directive, "# TODO"):
		t.passed++
	default:
		t.failed++
		t.lines = append(t.lines, line)
		return true
	}
	return false
}
