package buildkit

// These tests build images with buildkitd, whose OCI worker has bin/runc run the steps.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

func TestOverlayfs(t *testing.T) {
	b := startOCI(t, "overlayfs")
	compat.Scripts(t, "testdata", b.Env, nil)
	// runc run for each step, and delete: BuildKit had no other runtime for them.
	for _, verb := range []string{"run", "delete"} {
		if n := b.calls(verb); n < 20 {
			t.Errorf("the runtime was called to %s %d times", verb, n)
		}
	}
}

// TestNative copies the files of each step instead of laying them over each other.
func TestNative(t *testing.T) {
	b := startOCI(t, "native")
	compat.Scripts(t, "testdata/native", b.Env, nil)
}

// TestRestart: a daemon that was stopped knows the steps that it has run.
func TestRestart(t *testing.T) {
	b := startOCI(t, "overlayfs")
	dir := t.TempDir()
	compat.RootfsTar(t, dir)
	const dockerfile = "FROM scratch\nADD rootfs.tar /\nRUN echo before\n"
	b.build(t, dir, dockerfile, "before\n")
	b.Daemon.Stop()
	b.Daemon.Start()
	before := b.calls("run")
	b.build(t, dir, dockerfile+"RUN echo after\n", "after\n", "CACHED")
	if n := b.calls("run") - before; n != 1 {
		t.Errorf("after the restart %d steps were run, not the new one alone", n)
	}
}

// build builds a Dockerfile and wants texts in what buildctl prints.
func (b *Buildkit) build(t *testing.T, dir, dockerfile string, want ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(b.Env["build"])
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+b.Env["PATH"])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, text := range want {
		if !strings.Contains(string(out), text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
}

// startOCI starts a daemon that has bin/runc run the steps itself, and counts its calls.
func startOCI(t *testing.T, snapshotter string) *Buildkit {
	t.Helper()
	harness.NeedRoot(t)
	counting := filepath.Join(t.TempDir(), "runc")
	log := counting + ".calls"
	program(t, counting, fmt.Sprintf("echo \"$*\" >>'%s'\nexec '%s' \"$@\"", log, harness.Runtime(t)))
	b := Start(t, "--containerd-worker=false", "--oci-worker-binary", counting, "--oci-worker-net", "host", "--oci-worker-snapshotter", snapshotter)
	b.log = log
	return b
}

// calls counts the runtime's calls with the verb.
func (b *Buildkit) calls(verb string) (n int) {
	log, _ := os.ReadFile(b.log) // none of it: no call
	for line := range strings.Lines(string(log)) {
		if slices.Contains(strings.Fields(line), verb) {
			n++
		}
	}
	return n
}
