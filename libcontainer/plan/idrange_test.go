package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIDRanges(t *testing.T) {
	for list, want := range map[string][]IDRange{
		"":                 nil,
		"0":                {{0, 0}},
		"0-3,7":            {{0, 3}, {7, 7}},
		" 5 ,, 1-1,\n2047": {{5, 5}, {1, 1}, {2047, 2047}},
	} {
		if diff := cmp.Diff(want, idRanges(list)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", list, diff)
		}
	}
}
