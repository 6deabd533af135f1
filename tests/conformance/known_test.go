package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadKnown(t *testing.T) {
	tests := []struct {
		name, give string
		want       map[string]string
	}{
		{"a program and its reason", "# note\n\na: x: y\nb: z\n", map[string]string{"a": "x: y", "b": "z"}},
		{"a program without a reason is refused", "a:\n", nil},
		{"a program listed twice is refused", "a: x\na: y\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "known.txt")
			if err := os.WriteFile(path, []byte(tt.give), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadKnown(path)
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKnownListIsReadable(t *testing.T) {
	if _, err := loadKnown("known.txt"); err != nil {
		t.Error(err)
	}
}
