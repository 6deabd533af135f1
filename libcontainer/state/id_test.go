package state

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckID(t *testing.T) {
	for _, c := range []struct {
		name, id string
		ok       bool
	}{
		{"a letter", "a", true},
		{"every kind of character", "Az09_+-.", true},
		{"a leading dot", ".a", true},
		{"three dots", "...", true},
		{"a leading dash", "-a", true},
		{"the longest name of a file", strings.Repeat("a", 255), true},
		{"empty", "", false},
		{"one byte too many", strings.Repeat("a", 256), false},
		{"5,000 characters", strings.Repeat("a", 5000), false},
		{"the directory itself", ".", false},
		{"its parent", "..", false},
		{"a slash", "/", false},
		{"a path", "a/b", false},
		{"a path to the parent", "../a", false},
		{"NUL", "a\x00b", false},
		{"a space", "a b", false},
		{"a newline", "a\n", false},
		{"a letter beyond ASCII", "ä", false},
		{"a byte that is no UTF-8", "\xff", false},
		{"a colon", "a:b", false},
		{"an at sign", "a@b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckID(c.id)
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrInvalidID) {
				t.Errorf("CheckID(%.20q) = %v", c.id, err)
			}
			if !c.ok && !strings.HasPrefix(err.Error(), "invalid container ID format") {
				t.Errorf("text %q is matched by clients", err)
			}
		})
	}
}
