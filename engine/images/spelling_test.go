package images

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpell(t *testing.T) {
	tests := map[string]spelling{
		"docker.io/library/busybox:1": {"busybox:1", "busybox"},
		"docker.io/some/thing:latest": {"some/thing:latest", "some/thing"},
		"localhost:5000/a/b:v1":       {"localhost:5000/a/b:v1", "localhost:5000/a/b"},
		"busybox:1":                   {"busybox:1", ""},
		"example.com/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": {
			"example.com/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "example.com/a",
		},
		"What is this?": {},
	}
	for name, want := range tests {
		if d := cmp.Diff(want, spell(name), cmp.AllowUnexported(spelling{})); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}
