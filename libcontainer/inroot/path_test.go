package inroot

import "testing"

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, path, want string }{
		{"absolute", "/a/b", "/a/b"},
		{"relative", "a/b", "/a/b"},
		{"empty", "", "/"},
		{"the root", "/", "/"},
		{"doubled and trailing slashes", "//a///b/", "/a/b"},
		{"dots", "/./a/./b/.", "/a/b"},
		{"a way up", "/a/../b", "/b"},
		{"a way above the root", "../../../etc/passwd", "/etc/passwd"},
		{"a name of three dots", "/.../a", "/.../a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Clean(Path(c.path)); string(got) != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.path, got, c.want)
			}
		})
	}
}
