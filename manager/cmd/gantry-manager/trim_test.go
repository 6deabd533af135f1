package main

import "testing"

// Memory is given back once after work, when it is over.
func TestTrimmer(t *testing.T) {
	const mb = 1 << 20
	var trimmer trimmer
	for i, c := range []struct {
		allocated uint64
		want      bool
	}{
		{3 * mb, false}, // the start itself
		{8 * mb, false},
		{8*mb + 1000, true},
		{8*mb + 2000, false},
		{8*mb + trimIdle, false},
		{20 * mb, false},
		{40 * mb, false},
		{40*mb + 1, true},
	} {
		if got := trimmer.due(c.allocated); got != c.want {
			t.Errorf("%d: %v at %d", i, got, c.allocated)
		} else if got {
			trimmer.done(c.allocated)
		}
	}
}
