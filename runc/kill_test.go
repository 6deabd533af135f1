package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseSignal(t *testing.T) {
	for _, c := range []struct {
		in   string
		want unix.Signal
	}{
		{"9", unix.SIGKILL},
		{"0", 0},
		{"64", 64},
		{"KILL", unix.SIGKILL},
		{"SIGKILL", unix.SIGKILL},
		{"sigkill", unix.SIGKILL},
		{"Term", unix.SIGTERM},
		{"SIGusr1", unix.SIGUSR1},
		{"WINCH", unix.SIGWINCH},
	} {
		if got, err := parseSignal(c.in); err != nil || got != c.want {
			t.Errorf("%q: got %v, %v, want %v", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"BOGUS", "-9", "65", "9x", "SIG", "SIGSIGKILL", "KILL ", "99999999999999999999"} {
		_, err := parseSignal(in)
		if want := `unknown signal "` + in + `"`; err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", in, err, want)
		}
	}
}
