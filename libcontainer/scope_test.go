package libcontainer

import "testing"

func TestCommonDir(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"/cg/a/b", "/cg/a/c", "/cg/a"},
		{"/cg/a", "/cg/a/b", "/cg/a"},
		{"/cg/a/b", "/cg/a", "/cg/a"},
		{"/cg/a", "/cg/ab", "/cg"},
		{"/cg/ab", "/cg/a", "/cg"},
		{"/a", "/b", "/"},
		{"/", "/b", "/"},
	} {
		if got := commonDir(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

func TestAnnotationInAMessage(t *testing.T) {
	annotations := map[string]string{"org.systemd.property.Bogus": "1", "org.systemd.property.TimeoutStopSec": "1", "other": "x"}
	for message, want := range map[string]string{
		"Cannot set property Bogus, or unknown property.":           `annotations["org.systemd.property.Bogus"]`,
		"Cannot set property TimeoutStopUSec, or unknown property.": `annotations["org.systemd.property.TimeoutStopSec"]`,
		"Cannot set property Slice, or unknown property.":           "",
		"Unit x.scope already exists.":                              "",
	} {
		if got := annotationIn(message, annotations); got != want {
			t.Errorf("%s: %q, want %q", message, got, want)
		}
	}
}
