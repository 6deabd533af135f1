package shim_test

import (
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestSandbox makes pods of which one shim runs all containers. Upstream's shim has no such service, and containerd
// before 2.0 not the protocol.
func TestSandbox(t *testing.T) {
	harness.NeedRoot(t)
	for _, g := range []compat.Generation{compat.Containerd22, compat.Containerd24} {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			client := compat.StartContainerd(t, g, compat.Shim(t, g)).Client(harness.Runtime(t))
			client.Serial(t, "scripts", compat.Folder(t, "testdata/sandbox"))
			client.Serial(t, "scripts", compat.Folder(t, "testdata/sandbox-killed"))
		})
	}
}
