package names_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/gantry-containers/gantry/engine/names"
)

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{
		"web": true, "/web": true, "w1": true, "a_b.c-d": true,
		"": false, "/": false, "w": false, "-w": false, "_w": false, "a b": false, "a/b": false, "//ab": false, "ä1": false, "ab\n": false,
	} {
		err := names.Check(name)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want allowed: %v", name, err, ok)
		}
		if err != nil {
			want := "Invalid container name (" + name + "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
			if err.Error() != want || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v, want %s", name, err, want)
			}
		}
	}
}

func TestRandomNamesAreNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range 200 {
		name := names.Random(i % 3)
		if err := names.Check(name); err != nil {
			t.Error(err)
		}
		seen[name] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d names of 200 are different", len(seen))
	}
}

func TestID(t *testing.T) {
	a, b := names.ID(), names.ID()
	if len(a) != 64 || a == b {
		t.Errorf("ids %s and %s", a, b)
	}
}
