package main

import (
	"math"
	"slices"
)

// spread is a median and an interval that holds the true median with at least 95 % confidence.
type spread struct {
	median, low, high float64
}

// summarize computes a spread by order statistics, which assume nothing about the values but that they are
// independent: the number of values below the true median is binomial with p = 1/2. With fewer than six values no
// such interval exists, and the whole range is given.
func summarize(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	// The interval leaves out `cut` values at each end: the largest number with P(X < cut) ≤ 2.5 %.
	cut, tail, chance := 0, 0.0, math.Pow(0.5, float64(n))
	for tail+chance <= 0.025 {
		tail += chance
		chance *= float64(n-cut) / float64(cut+1)
		cut++
	}
	low := max(cut-1, 0)
	return spread{median: median(sorted), low: sorted[low], high: sorted[n-1-low]}
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
