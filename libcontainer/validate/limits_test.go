package validate

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestResourcesAloneHaveTheirPaths checks what an update leads to.
func TestResourcesAloneHaveTheirPaths(t *testing.T) {
	got := Resources(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(-7)), Swappiness: new(uint64(math.MaxUint64))}, // dockerd's "none"
		Pids:   &specs.LinuxPids{Limit: new(int64(-2))},
	}, &root)
	want := []string{
		"linux.resources.memory.limit: is -7, must be at least 0, or -1 for no limit",
		"linux.resources.pids.limit: is -2, must be at least 0, or -1 for no limit",
	}
	if diff := cmp.Diff(want, texts(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIntelRdtAloneHasItsPaths(t *testing.T) {
	got := IntelRdt(&specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f\nMB:0=1", MemBwSchema: "L3:0=f"})
	want := []string{"linux.intelRdt.l3CacheSchema: contains a newline", `linux.intelRdt.memBwSchema: is "L3:0=f", must start with MB:`}
	if diff := cmp.Diff(want, texts(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
