// Package containerd_test runs the real containerd over bin/runc: the scripts in testdata
// say what is typed at ctr, and what must come back.
package containerd_test

import (
	"path/filepath"
	"testing"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

// TestDebian drives Debian's containerd, 1.6.
func TestDebian(t *testing.T) {
	harness.NeedRoot(t)
	scripts(t, compat.Containerd16, "both", "restart", "debian")
}

// TestNewest drives containerd 2.4, and what only that one has.
func TestNewest(t *testing.T) {
	harness.NeedRoot(t)
	scripts(t, compat.Containerd24, "both", "newest", "restart")
}

// TestSystemd has systemd make the cgroups: the shim calls runc --systemd-cgroup.
func TestSystemd(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.Systemd, harness.CgroupV2)
	scripts(t, compat.Containerd24, "systemd")
}

// scripts starts a containerd with its own shim and runs folders of testdata, one after the
// other.
func scripts(t *testing.T, g compat.Generation, folders ...string) {
	t.Helper()
	client := compat.StartContainerd(t, g, g.Program(t, "containerd-shim-runc-v2")).Client(harness.Runtime(t))
	for _, folder := range folders {
		client.Scripts(t, folder, compat.Folder(t, filepath.Join("testdata", folder)))
	}
}
