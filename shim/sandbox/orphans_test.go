package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrphans(t *testing.T) {
	state := t.TempDir()
	sandboxes, containers := filepath.Join(state, sandboxes), filepath.Join(state, tasks)
	for file, content := range map[string]string{
		containers + "/ns/a/sandbox":     "pod",
		containers + "/ns/b/sandbox":     "another",
		containers + "/ns/c/config.json": "{}",
		containers + "/ns/d/sandbox":     "pod",
		containers + "/other/e/sandbox":  "pod",
		sandboxes + "/ns/pod/pause/x":    "",
		sandboxes + "/ns/another/x":      "", // shut down
		sandboxes + "/empty/pod/pause/x": "",
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for bundle, want := range map[string][]string{
		"ns/pod":     {containers + "/ns/a", containers + "/ns/d"},
		"ns/another": nil,
		"empty/pod":  nil,
		"ns/gone":    nil,
	} {
		got, err := Orphans(filepath.Join(sandboxes, bundle))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v; want -, got +:\n%s", bundle, err, diff)
		}
	}
}

func TestIsBundle(t *testing.T) {
	for path, want := range map[string]bool{
		"/run/containerd/io.containerd.sandbox.controller.v1.shim/k8s.io/x":  true,
		"/run/containerd/io.containerd.runtime.v2.task/k8s.io/x":             false,
		"/run/containerd/io.containerd.sandbox.controller.v1.local/k8s.io/x": false, // of 1.7
	} {
		if got := IsBundle(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}
