package tour

import (
	"regexp"
	"strings"
)

// masks take out of an output what differs from run to run.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\r|\x00|\^[@D]|\x08`), ""}, // script(1) types an end of file, which a terminal may echo
	{regexp.MustCompile(`    +`), "   "},            // columns are as wide as what is in them
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID64"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID12"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|UTC|[+-]\d\d:?\d\d))*`), "TIME"},
	{regexp.MustCompile(`\b(Less than a second|About (a|an) (second|minute|hour)|\d+ (seconds?|minutes?|hours?))\b`), "AGE"},
	{regexp.MustCompile(`AGE ago +`), "AGE ago "},
	{regexp.MustCompile(`\b(execDuration)([:=])\d+`), "$1${2}N"},
	// The client's own: it counts what it sends, or nothing when the engine says no before, or an error while it does.
	{regexp.MustCompile(`(?m)^Sending build context to Docker daemon .*\n`), ""},
	{regexp.MustCompile(`(?m)^! time="TIME" level=error msg="Can't add file .*\n`), ""},
	{regexp.MustCompile(`"(time|timeNano)": ?\d+`), `"$1":N`},
	{regexp.MustCompile(`\bname=[a-z]+_[a-z]+\d?\b`), "name=RANDOM"},
	{regexp.MustCompile(`time \([0-9.]+\)`), "time (N)"},
	{regexp.MustCompile(`\b(([0-9a-f][26ae]:)([0-9a-f]{2}:){4}[0-9a-f]{2})\b`), "MAC"}, // of those that nobody was sold
	{regexp.MustCompile(`"SandboxKey": ?"[^"]+"`), `"SandboxKey": "NAMESPACE"`},
	{regexp.MustCompile(`"(Pid|StartedAt|FinishedAt)": ?\d+`), `"$1": N`},
	{regexp.MustCompile(`lowerdir=[^)]*`), "lowerdir=DIRS"}, // the snapshotter's, and our shim adds uuid=on
	{regexp.MustCompile(`unix:///tmp/gtdocker\d+/d\.sock`), "HOST"},
	{regexp.MustCompile(`/?gtdocker\d+`), "FOLDER"},
}

// mask masks an output; dir is the folder that the command ran in.
func mask(output, dir string) string {
	output = strings.ReplaceAll(output, dir, "WORK")
	for _, m := range masks {
		output = m.pattern.ReplaceAllString(output, m.with)
	}
	var lines []string
	for line := range strings.Lines(output) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}
