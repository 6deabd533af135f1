package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":3}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: needs Linux 6.3\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`

const skipped = `{"Action":"output","Package":"p","Test":"TestD","Output":"    d_test.go:1: too lazy\n"}
{"Action":"skip","Package":"p","Test":"TestD"}
`

func TestResults(t *testing.T) {
	for _, c := range []struct {
		name, events            string
		exit                    error
		passed, failed, skipped int
		ok                      bool
	}{
		{"all is well", events, nil, 1, 0, 1, true},
		{"a test fails", events + `{"Action":"fail","Package":"p","Test":"TestC"}`, nil, 1, 1, 1, false},
		{"a package panics outside of a test", events + `{"Action":"fail","Package":"p"}`, nil, 1, 1, 1, false},
		{"the machine fails", events, errors.New("exit status 125"), 1, 0, 1, false},
		{"nothing ran", `{"Action":"pass","Package":"p"}`, nil, 0, 1, 0, false},
		{"nothing ran in one package", events + "{\"Action\":\"pass\",\"Package\":\"p\"}\n{\"Action\":\"pass\",\"Package\":\"q\"}\n", nil, 1, 1, 1, false},
		{"a skip that need not be", events + skipped, nil, 1, 1, 1, false},
		{"noise on the console", "[   1.2] oops\n" + events, nil, 1, 0, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := &results{boot: "b", exit: c.exit, out: &out}
			if err := r.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			if r.passed != c.passed || r.failed != c.failed || r.skipped != c.skipped {
				t.Errorf("passed %d, failed %d, skipped %d", r.passed, r.failed, r.skipped)
			}
			if ok := summarize(&out, []*results{r}); ok != c.ok {
				t.Errorf("ok is %v", ok)
			}
			if c.skipped > 0 && !strings.Contains(out.String(), "b: skipped 1: needs Linux 6.3\n") {
				t.Errorf("the reason of a skip is not in:\n%s", out.String())
			}
		})
	}
}
