// Package buildkit has the tests that drive buildkitd, and what starts one.
package buildkit

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/compat"
)

// Buildkit is a running daemon.
type Buildkit struct {
	Daemon *compat.Daemon
	Dir    string
	Env    map[string]string // of scripts: $build, a program that builds what is in its directory; $ROOTFS, a tar
	log    string            // of the runtime's calls, if it is told
}

// Start starts a daemon in a folder of its own, with more options, which choose its worker. It needs the namespaces of
// compat.Private.
func Start(t *testing.T, options ...string) *Buildkit {
	t.Helper()
	buildkitd, buildctl := compat.Newest(t, "buildkitd"), compat.Newest(t, "buildctl")
	dir := t.TempDir()
	socket := "unix://" + filepath.Join(dir, "sock")
	control, build := filepath.Join(dir, "bin", "buildctl"), filepath.Join(dir, "bin", "build")
	program(t, control, fmt.Sprintf("exec '%s' --addr '%s' \"$@\"", buildctl, socket))
	program(t, build, "exec buildctl build --progress plain --frontend dockerfile.v0 --local context=. --local dockerfile=. \"$@\" 2>&1")
	checkLeftovers(t, dir)
	tmp := filepath.Join(dir, "tmp") // it leaves mount points there
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	b := &Buildkit{Dir: dir, Env: map[string]string{
		"build":  build,
		"PATH":   filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
		"ROOTFS": compat.RootfsTar(t, dir),
	}}
	arguments := append([]string{
		"--root", filepath.Join(dir, "root"), "--addr", socket, "--config", "/dev/null",
		"--allow-insecure-entitlement", "security.insecure", "--allow-insecure-entitlement", "network.host",
	}, options...)
	b.Daemon = compat.Start(t, func() *exec.Cmd {
		cmd := exec.Command(buildkitd, arguments...)
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
		return cmd
	}, func() error { return exec.Command(control, "debug", "workers").Run() })
	return b
}

func program(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// checkLeftovers fails the test for what is left of a daemon at its end. BuildKit's
// containers are in the cgroup /buildkit, which it leaves.
func checkLeftovers(t *testing.T, dir string) {
	t.Helper()
	compat.CheckLeftovers(t, dir)
	t.Cleanup(func() {
		var parents []string
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() || !strings.Contains(path+"/", "/buildkit/") {
				return nil //nolint:nilerr // cgroups come and go
			}
			switch {
			case d.Name() == "buildkit" || d.Name() == "parent":
				parents = append(parents, path)
			default:
				t.Errorf("left behind: cgroup %s", path)
			}
			return nil
		})
		for _, dir := range slices.Backward(parents) {
			if err := unix.Rmdir(dir); err != nil {
				t.Errorf("rmdir %s: %v", dir, err)
			}
		}
	})
}
