package launch

import (
	"testing"
	"unsafe"
)

// TestStepLayout holds the offsets that loop_*.s uses.
func TestStepLayout(t *testing.T) {
	var s step
	var h header
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"size", unsafe.Sizeof(s), 88},
		{"nr", unsafe.Offsetof(s.nr), 0},
		{"a", unsafe.Offsetof(s.a), 8},
		{"min", unsafe.Offsetof(s.min), 56},
		{"in", unsafe.Offsetof(s.in), 64},
		{"out", unsafe.Offsetof(s.out), 66},
		{"skipErr", unsafe.Offsetof(s.skipErr), 68},
		{"skipOK", unsafe.Offsetof(s.skipOK), 70},
		{"skipPos", unsafe.Offsetof(s.skipPos), 72},
		{"id", unsafe.Offsetof(s.id), 76},
		{"accept", unsafe.Offsetof(s.accept), 80},
		{"header.end", unsafe.Offsetof(h.end), 8},
		{"header.slots", unsafe.Offsetof(h.slots), 16},
		{"header.reportFD", unsafe.Offsetof(h.reportFD), 24},
		{"header.report", unsafe.Offsetof(h.report), 32},
	} {
		if c.got != c.want {
			t.Errorf("%s is at %d, the loop has it at %d", c.name, c.got, c.want)
		}
	}
}
