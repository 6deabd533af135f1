package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTAP(t *testing.T) {
	tests := []struct {
		name, give string
		want       tapReport
	}{
		{
			name: "passed, skipped and failed points are counted",
			give: "TAP version 13\nok 1 - a\nok 2 # SKIP b\nnot ok 3 - c\n# why\n1..3\n",
			want: tapReport{passed: 1, skipped: 1, failed: 1, lines: []string{"not ok 3 - c", "# why"}, header: true, plan: true},
		},
		{
			name: "a quoted failure inside a diagnostic block doesn't count",
			give: "TAP version 13\nok 1 - a\n  ---\n  not ok 1 - quoted\n  ...\n1..1\n",
			want: tapReport{passed: 1, header: true, plan: true},
		},
		{
			name: "an error block without a test point is a failure",
			give: "TAP version 13\n  ---\n  {\n    \"error\": \"hooks\"\n  }\n  ...\n1..0\n",
			want: tapReport{failed: 1, lines: []string{`"error": "hooks"`}, header: true, plan: true},
		},
		{
			name: "an error block that belongs to a passed point isn't a failure",
			give: "TAP version 13\nok 1 - must fail\n  ---\n  {\n    \"error\": \"exit status 1\"\n  }\n  ...\n1..1\n",
			want: tapReport{passed: 1, header: true, plan: true},
		},
		{
			name: "a point marked TODO never fails",
			give: "TAP version 13\nnot ok 1 # TODO later\n1..1\n",
			want: tapReport{passed: 1, header: true, plan: true},
		},
		{
			name: "a report that breaks off has no plan",
			give: "TAP version 13\nok 1 - a\n",
			want: tapReport{passed: 1, header: true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseTAP(strings.NewReader(tt.give))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(tapReport{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
