package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func said(t *testing.T, events ...string) *results {
	t.Helper()
	r := &results{boot: "b", out: io.Discard}
	if err := r.read(strings.NewReader(strings.Join(events, "\n"))); err != nil {
		t.Fatal(err)
	}
	return r
}

func event1(action, test string) string {
	return `{"Action":"` + action + `","Package":"tests/root","Test":"` + test + `"}`
}

func TestSecond(t *testing.T) {
	b := &boot{name: "b", work: []work{{name: "libcontainer"}, {name: "tests/root", run: "^Test", skip: "Slow"}}}
	failed := event1("fail", "")
	first := said(t, event1("pass", "TestA"), event1("fail", "TestB/one"), event1("fail", "TestB"), event1("fail", "TestC"), failed)
	first.exit = errors.New("exit status 1")
	next := b.second(first)
	if next == nil {
		t.Fatal("no second try")
	}
	if diff := cmp.Diff([]work{{name: "tests/root", run: "^(TestB|TestC)$", skip: "Slow"}}, next.work, cmp.AllowUnexported(work{})); diff != "" {
		t.Error(diff)
	}
	first.settle(said(t, event1("pass", "TestB"), event1("fail", "TestC"), failed))
	if summarize(io.Discard, []*results{first}) || !slices.Equal(first.again, []string{"tests/root TestB"}) {
		t.Errorf("one failed again: %+v", first)
	}
	first.settle(said(t, event1("pass", "TestB"), event1("pass", "TestC"), event1("pass", "")))
	if !summarize(io.Discard, []*results{first}) {
		t.Errorf("all have passed at the second try: %+v", first)
	}
	for name, r := range map[string]*results{
		"nothing failed":     said(t, event1("pass", "TestA")),
		"a crash":            said(t, event1("pass", "TestA"), failed),
		"skipped":            said(t, event1("fail", "TestA"), event1("skip", "TestB"), failed),
		"too many to chance": said(t, event1("fail", "TestA"), event1("fail", "TestB"), event1("fail", "TestC"), event1("fail", "TestD"), failed),
	} {
		if b.second(r) != nil {
			t.Errorf("%s: a second try", name)
		}
	}
}
