package events

import (
	"slices"
	"testing"
	"time"
)

// The subscribers of another manager are told what they have missed, each of them; those who come later are not, nor those
// who have a place.
func TestStrangers(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	forwardMoby(t, l, "/tasks/old")
	had := read(t, l, Start{Filters: []string{dockerd}})
	closeLog(t, l)
	had.Close()

	l = openLog(t, Config{Dir: dir})
	l.ExpectStrangers(time.Hour)
	forwardMoby(t, l, "/tasks/exit", "/images/create", "/tasks/delete")
	missed := []string{"/tasks/exit", "/tasks/delete"}
	for _, filters := range [][]string{{dockerd}, {"topic~=|^/tasks/|"}, {"topic~=|^/tasks/|"}} {
		s := read(t, l, Start{Filters: filters})
		var got []string
		for range missed {
			r, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Topic)
		}
		if !slices.Equal(got, missed) {
			t.Errorf("%v is told %v, want %v", filters, got, missed)
		}
		s.Close()
	}
	l.ExpectStrangers(0)
	late := read(t, l, Start{Filters: []string{"namespace==moby"}})
	forwardMoby(t, l, "/tasks/new")
	if r, err := late.Next(t.Context()); err != nil || r.Topic != "/tasks/new" {
		t.Errorf("one who comes later is told %v, %v", r, err)
	}
	late.Close()
}
