// Package attack attacks bin/runc: the published weaknesses of container runtimes, each as
// a test that is named after it, against the real binary and as root. The catalogue is
// section 3 of the reference on runtimes; which guard holds which test, and that the test
// fails without it, is in testdata/guards.md.
//
// Not here, because the part that was weak is not part of this runtime (yet):
//
//	CVE-2021-43784           the plan goes by shared memory, not by netlink: large configs are tested. The messages that move
//	                         network devices carry names of at most 15 bytes, by validate, and what the kernel said itself
//	CVE-2025-24965, CVE-2026-84042   no krun handler
//	CVE-2024-3154            org.systemd.property.*: for the engine to filter (features names it); see plan's TestAnnotatedProperties
//	runc#5428 (BPF query)    device programs are of cgroup v2; here devices are v1's. package cgroup's own tests
//	CVE-2016-9962            is part of the tests of the runtime's own binary (exe_test.go)
package attack

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// attacker is the program of ./attacker, static.
var attacker string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// buildAndRun builds the attacker, and lets the tests work on a copy of the runtime:
// they may destroy it.
func buildAndRun(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test will be skipped
	}
	dir, err := os.MkdirTemp("", "gantry-attack-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	attacker, err = harness.Built(dir, "attacker", buildAttacker)
	if err == nil {
		err = useCopy(filepath.Join(dir, "runc"))
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // rootless tests run it, too
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func buildAttacker(to string) error {
	cmd := exec.Command("go", "build", "-o", to, "./attacker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func useCopy(file string) error {
	runtime := os.Getenv("GANTRY_RUNTIME")
	if runtime == "" {
		runtime = filepath.Join(harness.Top(), "bin", "runc")
	}
	b, err := os.ReadFile(runtime)
	if err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	if err := os.WriteFile(file, b, 0o755); err != nil {
		return err
	}
	return os.Setenv("GANTRY_RUNTIME", file)
}

// guardBinary fails the test when the runtime's file has changed at its end.
func guardBinary(t *testing.T) {
	t.Helper()
	file := harness.Runtime(t)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(before) != sha256.Sum256(after) {
			t.Error("the runtime's binary was overwritten from inside a container")
			_ = os.Remove(file)
			if err := os.WriteFile(file, before, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// canary is a directory of the host that no container may touch.
func canary(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "canary")
	mkdir(t, filepath.Join(dir, "kept"))
	write(t, filepath.Join(dir, "secret"), "canary\n")
	write(t, filepath.Join(dir, "ptmx"), "canary\n")
	before := picture(t, dir)
	t.Cleanup(func() {
		if after := picture(t, dir); after != before {
			t.Errorf("the canary was touched:\nbefore:\n%s\nafter:\n%s", before, after)
		}
	})
	return dir
}

// picture describes everything below a directory that an attacker might change.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		content := []byte(nil)
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s %d %o %d:%d %d.%d %q\n", name, st.Ino, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// link makes a symlink in the place of whatever is there.
func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// unmounted takes mounts out of a config.
func unmounted(s *specs.Spec, destinations ...string) {
	var rest []specs.Mount
	for _, m := range s.Mounts {
		keep := true
		for _, d := range destinations {
			keep = keep && m.Destination != d && !strings.HasPrefix(m.Destination, d+"/")
		}
		if keep {
			rest = append(rest, m)
		}
	}
	s.Mounts = rest
}

func bind(source, destination string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"rbind", "rw"}}
}

func tmpfs(destination string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "tmpfs", Source: "attacked"}
}

// refused runs a bundle that must not run, for a reason.
func refused(t *testing.T, e *harness.Env, bundle, reason string) {
	t.Helper()
	r := e.Run("run", "--bundle", bundle, e.ID("c"))
	if r.Code == 0 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("exit %d, stderr %q, want a refusal that says %q", r.Code, r.Stderr, reason)
	}
}

// answers runs a bundle that must run, and wants its stdout.
func answers(t *testing.T, e *harness.Env, bundle, want string) {
	t.Helper()
	r := e.Run("run", "--bundle", bundle, e.ID("c"))
	if r.Code != 0 || strings.TrimSpace(r.Stdout) != want {
		t.Errorf("exit %d\nstdout: %s\nwant:   %s\nstderr: %s", r.Code, r.Stdout, want, r.Stderr)
	}
}

// swapper exchanges two names as fast as it can until the test ends.
func swapper(t *testing.T, a, b string) {
	t.Helper()
	cmd := exec.Command(attacker, "swap", a, b)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// launches is how often a race is tried.
const launches = 60

// race runs a bundle many times. Each may fail; what it prints when it runs must pass.
func race(t *testing.T, e *harness.Env, bundle string, check func(stdout string) string) {
	t.Helper()
	ran, why := 0, ""
	for range launches {
		r := e.Run("run", "--bundle", bundle, e.ID("c"))
		if r.Code != 0 {
			why = r.Stderr
			continue
		}
		ran++
		if problem := check(r.Stdout); problem != "" {
			t.Errorf("%s\nstdout: %s", problem, r.Stdout)
			return
		}
	}
	t.Logf("%d of %d launches came through; the last that did not: %s", ran, launches, why)
}
