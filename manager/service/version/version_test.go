package version

import (
	"regexp"
	"testing"
)

func TestVersion(t *testing.T) {
	form := regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\+gantry\.[0-9A-Za-z.-]+$`)
	for _, own := range []string{"0.1.0-dev", "1.2.3+dirty", "unknown", "a b"} {
		got, err := New(own, "abc").Version(t.Context(), nil)
		if err != nil || !form.MatchString(got.Version) || got.Revision != "abc" {
			t.Errorf("Version of %q = %v, %v", own, got, err)
		}
	}
}
