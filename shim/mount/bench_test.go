package mount

import (
	"fmt"
	"strings"
	"testing"
)

// What the mounting and unmounting of a root file system takes, with layers that fit a page and that don't.
func BenchmarkOverlay(b *testing.B) {
	for _, n := range []int{5, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newScene(b)
			m := s.overlay(n)
			b.ReportMetric(float64(len(strings.Join(m.Options, ","))), "bytes")
			for b.Loop() {
				s.all(m)
				check(b, UnmountAll(s.target))
			}
		})
	}
}

// What a delete pays where there is nothing.
func BenchmarkUnmountNothing(b *testing.B) {
	s := newScene(b)
	for b.Loop() {
		check(b, UnmountAll(s.target))
	}
}
