package report

import (
	"fmt"
	"math"
	"slices"
)

// Spread is a median and an interval that holds the true median with at least 95 % confidence.
type Spread struct {
	Median, Low, High float64
}

// Summarize computes a spread by order statistics, which assume nothing about the values but that they are
// independent: the number of values below the true median is binomial with p = 1/2. With fewer than six values no
// such interval exists, and the whole range is given.
func Summarize(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	// The interval leaves out `cut` values at each end: the largest number with P(X < cut) ≤ 2.5 %.
	cut, tail, chance := 0, 0.0, math.Pow(0.5, float64(n))
	for tail+chance <= 0.025 {
		tail += chance
		chance *= float64(n-cut) / float64(cut+1)
		cut++
	}
	low := max(cut-1, 0)
	return Spread{Median: median(sorted), Low: sorted[low], High: sorted[n-1-low]}
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Columns shows both medians and the ratio of ours to the peer's, pair by pair.
func Columns(values [2][]float64) string {
	ratios := make([]float64, len(values[0]))
	for i := range ratios {
		ratios[i] = values[0][i] / values[1][i]
	}
	r := Summarize(ratios)
	return fmt.Sprintf("%8.2f %8.2f  %.3f [%.3f, %.3f]",
		Summarize(values[0]).Median, Summarize(values[1]).Median, r.Median, r.Low, r.High)
}
