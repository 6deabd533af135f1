// Package podman_test runs podman and buildah, as root and as a user, with bin/runc as
// their runtime.
package podman_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
	"github.com/gantry-containers/gantry/tests/harness"
)

func TestMain(m *testing.M) {
	if err := compat.Private(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRoot(t *testing.T) {
	harness.NeedRoot(t)
	scripts(t, "testdata/root", &flavour{manager: "cgroupfs"})
}

func TestRootless(t *testing.T) {
	harness.NeedRoot(t)
	addUser(t)
	openTun(t)
	scripts(t, "testdata/rootless", &flavour{manager: "cgroupfs", user: userID})
}

func TestSystemd(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.Systemd)
	scripts(t, "testdata/systemd", &flavour{manager: "systemd"})
}

func TestSystemdRootless(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.Systemd)
	scripts(t, "testdata/systemd-rootless", &flavour{manager: "systemd", user: managedUser(t), session: true})
}

// flavour is how podman runs.
type flavour struct {
	manager string // of cgroups
	user    int
	session bool // the user has a service manager, and a runtime directory
}

func scripts(t *testing.T, dir string, f *flavour) {
	t.Helper()
	for _, client := range []string{"podman", "buildah", "conmon", "catatonit"} {
		compat.Debian(t, client)
	}
	images := publicDir(t)
	checkCgroups(t)
	env := map[string]string{
		"RUNTIME": offered(t), "IMAGE": compat.Image(t, images), "ROOTFS": compat.RootfsTar(t, images),
		"img": compat.ImageName,
	}
	compat.Scripts(t, dir, env, map[string]compat.Command{"store": storeCommand(t, f, env)})
}

// offered is the runtime under test at a place that every user can reach, whoever owns the
// tree above it.
func offered(t *testing.T) string {
	t.Helper()
	to := filepath.Join(publicDir(t), "runc")
	if err := os.WriteFile(to, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(harness.Runtime(t), to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	})
	return to
}

// publicDir is a temporary directory whose parents let everybody through.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "podman-test-") //nolint:usetesting // podman refuses long names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
