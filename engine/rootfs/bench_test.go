package rootfs

import (
	"fmt"
	"testing"

	"github.com/gantry-containers/gantry/tests/engine/embedded"
	"github.com/gantry-containers/gantry/tests/harness"
)

// BenchmarkCreate is a container's snapshot made and removed.
func BenchmarkCreate(b *testing.B) {
	harness.NeedRoot(b)
	client := embedded.Manager(b)
	s := New(client, embedded.Snapshotter, Containers{Pid: func(string) int { return 0 }}, b.TempDir())
	chain := embedded.Layer(b, client, "", func(string) {})
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("c", i)
		if err := s.Create(b.Context(), id, chain); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is a look at one file of a container that does not run.
func BenchmarkOpen(b *testing.B) {
	harness.NeedRoot(b)
	client := embedded.Manager(b)
	s := New(client, embedded.Snapshotter, Containers{Pid: func(string) int { return 0 }}, b.TempDir())
	chain := embedded.Layer(b, client, "", func(string) {})
	if err := s.Create(b.Context(), "c", chain); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tree, err := s.Open(b.Context(), "c")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tree.ReadFile("/etc/hosts", 100); err != nil {
			b.Fatal(err)
		}
		tree.Root.Close()
	}
}
