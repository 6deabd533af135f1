package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxAgain is how many tests get a second try: more have not failed by chance.
const maxAgain = 3

// remember notes a test that failed; of a subtest, the test that it is part of.
func (r *results) remember(e *event) {
	if r.failures == nil {
		r.failures = map[string][]string{}
	}
	test, _, _ := strings.Cut(e.Test, "/")
	if !slices.Contains(r.failures[e.Package], test) {
		r.failures[e.Package] = append(r.failures[e.Package], test)
	}
}

// second is a boot for the few tests that failed in a first one, as make test has it: docs/decisions/0046-second-try.md.
// It is nil where there is none, or nothing that could end otherwise.
func (b *boot) second(first *results) *boot {
	count := 0
	for _, tests := range first.failures {
		count += len(tests)
	}
	if first.final || count == 0 || count > maxAgain {
		return nil
	}
	next := *b
	next.work = nil
	for _, w := range b.work {
		if tests := first.failures[w.name]; len(tests) > 0 {
			quoted := make([]string, len(tests))
			for i, t := range tests {
				quoted[i] = regexp.QuoteMeta(t)
			}
			next.work = append(next.work, work{name: w.name, run: "^(" + strings.Join(quoted, "|") + ")$", skip: w.skip})
		}
	}
	return &next
}

// try runs a boot, and a second one for what failed by chance.
func (b *boot) try(ctx context.Context, top, stage string, events io.Writer) (*results, error) {
	first, err := b.run(ctx, top, stage, events)
	if err != nil {
		return nil, err
	}
	next := b.second(first)
	if next == nil {
		return first, nil
	}
	second, err := next.run(ctx, top, stage, events)
	if err == nil {
		first.settle(second)
	}
	return first, err
}

// settle takes the outcome of a second boot for that of the tests that failed in the first.
func (r *results) settle(second *results) {
	for _, name := range slices.Sorted(maps.Keys(r.failures)) {
		for _, test := range r.failures[name] {
			if !slices.Contains(second.failures[name], test) {
				r.again = append(r.again, fmt.Sprint(name, " ", test))
			}
		}
	}
	r.failed, r.exit = second.failed, second.exit
	r.passed += second.passed
	r.took += second.took
}
