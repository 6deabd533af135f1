package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLogLines(t *testing.T) {
	const when = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)`
	for _, c := range []struct {
		name string
		json bool
		msg  string
		want string
	}{
		{"text", false, `no "x"`, `^time="` + when + `" level=error msg="no \\"x\\""\n$`},
		{"a text of one word", false, "gone", `^time="` + when + `" level=error msg=gone\n$`},
		{"JSON", true, `no "x"`, `^{"level":"error","msg":"no \\"x\\"","time":"` + when + `","code":"internal"}\n$`},
		{"two joined errors are one line", true, "a\nb", `^{"level":"error","msg":"a; b",.*}\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := logged(t, logger{json: c.json}, func(l *logger) { l.failure(errors.New(c.msg)) })
			if !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.json {
				var line struct{ Time time.Time }
				if err := json.Unmarshal([]byte(got), &line); err != nil {
					t.Errorf("containerd's shim could not read it: %v", err)
				}
			}
		})
	}
}

func TestWarningsStayOutOfAJSONLog(t *testing.T) {
	for _, c := range []struct {
		name string
		log  logger
		want int
	}{
		{"text has them", logger{}, 1},
		{"JSON has none", logger{json: true}, 0},
		{"JSON with --debug has them", logger{json: true, debug: true}, 1},
		{"text has none of --log-level error", logger{quiet: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := logged(t, c.log, func(l *logger) { l.warning("careful") })
			if n := strings.Count(got, "careful"); n != c.want {
				t.Errorf("log %q has %d warnings, want %d", got, n, c.want)
			}
		})
	}
}

// logged returns what use writes into the log's file.
func logged(t *testing.T, l logger, use func(*logger)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := l.open(path); err != nil {
		t.Fatal(err)
	}
	use(&l)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
