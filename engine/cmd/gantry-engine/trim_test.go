package main

import "testing"

func TestTrimmer(t *testing.T) {
	type look struct {
		allocated uint64
		due       bool
	}
	const mega = 1 << 20
	tests := map[string][]look{
		"after the start":         {{3 * mega, false}, {3*mega + 1, true}, {3*mega + 2, false}},
		"not while it works":      {{mega, false}, {3 * mega, false}, {6 * mega, false}, {6*mega + 1, true}},
		"not for next to nothing": {{3 * mega, false}, {3 * mega, true}, {3*mega + mega/2 - 1, false}, {4*mega - 2, false}, {4*mega + 1, true}},
	}
	for name, looks := range tests {
		t.Run(name, func(t *testing.T) {
			var tr trimmer
			for i, l := range looks {
				if due := tr.due(l.allocated); due != l.due {
					t.Errorf("look %d: due %v, want %v", i, due, l.due)
				} else if due {
					tr.trimmed = l.allocated
				}
			}
		})
	}
}
