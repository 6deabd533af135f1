package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	count := func(n int) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[n-1-i] = float64(i + 1)
		}
		return values
	}
	tests := []struct {
		name string
		give []float64
		want Spread
	}{
		{"one value is its own interval", []float64{3}, Spread{3, 3, 3}},
		{"an even number has its median between two values", []float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
		{"with five values the interval is the whole range", count(5), Spread{3, 1, 5}},
		// Conover, Practical Nonparametric Statistics, table of the sign test: ranks for 95 %.
		{"with ten values it goes from the 2nd to the 9th", count(10), Spread{5.5, 2, 9}},
		{"with forty values it goes from the 14th to the 27th", count(40), Spread{20.5, 14, 27}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Summarize(tt.give)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
