package apidiff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Answer is what came back, as far as it is compared.
type Answer struct {
	Status  int
	Headers map[string]string
	// Lines are the JSON values of the body as "path: value", masked; or its beginning when it is none.
	Lines []string
}

// compared are headers that clients read.
var compared = []string{"Content-Type", "Api-Version", "Ostype", "Docker-Experimental", "Builder-Version", "Swarm", "Cache-Control", "Pragma"}

// read makes an answer of a response.
func read(r *http.Response) (*Answer, error) {
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: r.StatusCode, Headers: map[string]string{}}
	for _, name := range compared {
		a.Headers[name] = r.Header.Get(name)
	}
	if r.StatusCode == http.StatusNotModified || r.StatusCode == http.StatusNoContent {
		delete(a.Headers, "Content-Type")
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !strings.Contains(kind, "json") {
		if kind == "text/plain" {
			a.Lines = []string{mask("", string(body))}
		} else {
			a.Lines = []string{fmt.Sprintf("empty: %v", len(body) == 0)}
		}
		return a, nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	for n := 0; ; n++ {
		var v any
		if err := dec.Decode(&v); err != nil {
			break
		}
		a.Lines = append(a.Lines, flatten("", v)...)
	}
	slices.Sort(a.Lines)
	a.Lines = slices.Compact(a.Lines)
	return a, nil
}

// flatten is a value as lines of "path: value". Elements of arrays have no number: their order is not compared.
func flatten(path string, v any) []string {
	var lines []string
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []string{path + ": {}"}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, flatten(path+"."+maskKey(key), v[key])...)
		}
	case []any:
		if len(v) == 0 {
			return []string{path + ": []"}
		}
		for _, e := range v {
			lines = append(lines, flatten(path+"[]", e)...)
		}
	case string:
		return []string{path + ": " + fmt.Sprintf("%q", mask(path, v))}
	case json.Number:
		return []string{path + ": " + maskNumber(path, v)}
	default:
		return []string{fmt.Sprintf("%s: %v", path, v)}
	}
	return lines
}

// volatile are numbers that no two engines have in common.
var volatile = regexp.MustCompile(`(?i)(pid|size|created|time|nano|nfd|ngoroutines|neventslistener|memtotal|usage|total|limit_bytes|online|percpu|cpu_|\.stats\.|_stats|bytes|packets|reclaimed|containers|images|progressDetail|execDuration|Accepted|sharedsize)`)

func maskNumber(path string, n json.Number) string {
	if volatile.MatchString(path) {
		if !strings.Contains(path, "percpu") && (n == "0" || n == "-1") {
			return n.String()
		}
		return "N"
	}
	return n.String()
}

var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID64"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID12"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\b(Less than a second|About (a|an) (second|minute|hour)|\d+ (seconds?|minutes?|hours?))\b`), "AGE"},
	{regexp.MustCompile(`/(tmp|run|dev/shm)/[^ "]*gtdocker\d+[^ ":]*`), "PATH"},
	{regexp.MustCompile(`/?gtdocker\d+`), "FOLDER"},
	{regexp.MustCompile(`^/[a-z]+_[a-z]+\d?$`), "RANDOM"},
	{regexp.MustCompile(`^[0-9a-z]{25}$`), "RECORD"}, // of a build cache
	{regexp.MustCompile(`trial-\d+`), "TRIAL"},
	{regexp.MustCompile(`\b(running|stopped|renamed|fresh|volume)-\d\b`), "$1"},
}

// processes are columns of ps: only their number is compared.
var processes = regexp.MustCompile(`\.Processes\[\]\[\]$`)

func mask(path, s string) string {
	if processes.MatchString(path) {
		return "COLUMN"
	}
	for _, m := range masks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	return s
}

func maskKey(s string) string { return mask("", s) }
