package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// nobody is the user without privileges that runs rootless containers here.
const nobody = 65534

// rootless is a runtime as an ordinary user has it.
type rootless struct {
	*harness.Env
	t      *testing.T
	binary string // a copy that the user can reach wherever the source tree is
	home   string
	uid    int    // of the user, and gid
	run    string // $XDG_RUNTIME_DIR
}

func newRootless(t *testing.T) *rootless {
	t.Helper()
	home := t.TempDir()
	return newRootlessAs(t, nobody, home, home)
}

// newRootlessAs is a runtime as the user with the id has it.
func newRootlessAs(t *testing.T, uid int, home, runtimeDir string) *rootless {
	t.Helper()
	e := harness.New(t)
	r := &rootless{Env: e, t: t, home: home, uid: uid, run: runtimeDir}
	harness.Reachable(t, r.home)
	if err := os.Mkdir(e.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{e.Root, r.home} {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	r.binary = filepath.Join(r.home, "bin", "runc")
	write(t, r.binary, read(t, harness.Runtime(t)))
	if err := os.Chmod(r.binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// as runs the runtime as nobody.
func (r *rootless) as(args ...string) harness.Result {
	r.t.Helper()
	return r.RunWith(r.become, args...)
}

func (r *rootless) become(cmd *exec.Cmd) {
	cmd.Path = r.binary
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + r.run}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.uid)}}
}

// must is as for a command that has to succeed.
func (r *rootless) must(args ...string) string {
	r.t.Helper()
	res := r.as(args...)
	if res.Code != 0 {
		r.t.Fatalf("%v as a user: exit %d\nstdout: %s\nstderr: %s", args, res.Code, res.Stdout, res.Stderr)
	}
	return strings.TrimSpace(res.Stdout)
}

// bundle makes a bundle with the config of `spec --rootless`.
func (r *rootless) bundle(script string, edit change) string {
	r.t.Helper()
	dir := r.Env.Bundle(script, nil)
	if err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", r.uid, r.uid), dir).Run(); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "config.json")); err != nil {
		r.t.Fatal(err)
	}
	r.must("spec", "--rootless", "-b", dir)
	r.EditConfig(dir, func(s *specs.Spec) {
		s.Process.Args, s.Process.Terminal, s.Root.Readonly = []string{"sh", "-c", script}, false, false
		if edit != nil {
			edit(s)
		}
	})
	return dir
}

// running starts a container in the background, and returns its id and pid.
func (r *rootless) running(edit change) (id string, pid int) {
	r.t.Helper()
	id = r.ID("c")
	r.must("run", "-d", "-b", r.bundle(sleeper, edit), id)
	pid = r.State(id).Pid
	return id, pid
}

// finish ends a container as its user does.
func (r *rootless) finish(id string) {
	r.t.Helper()
	r.must("kill", id, "TERM")
	r.WaitStatus(id, specs.StateStopped)
	r.must("delete", id)
	if left := r.Leftovers(); len(left) > 0 {
		r.t.Errorf("after delete: %v left", left)
	}
}

func TestRootlessWithOneID(t *testing.T) {
	r := newRootless(t)
	id, pid := r.running(nil)
	equal(t, "uid_map", "0 65534 1", strings.Join(strings.Fields(proc(t, pid, "uid_map")), " "))
	equal(t, "setgroups", "deny", proc(t, pid, "setgroups"))
	equal(t, "Uid on the host", "65534 65534 65534 65534", status(t, pid, "Uid"))
	equal(t, "exec", "0 pid 1", r.must("exec", id, "sh", "-c", "echo $(id -u) pid $(cut -d' ' -f1 /proc/1/stat)"))
	equal(t, "state", specs.StateRunning, r.State(id).Status)
	r.finish(id)
}

func TestRootlessCreateAndStart(t *testing.T) {
	r := newRootless(t)
	id := r.ID("c")
	bundle := r.bundle("id -u >/result; hostname >>/result", func(s *specs.Spec) { s.Hostname = "rootless" })
	r.must("create", "-b", bundle, id)
	equal(t, "status", specs.StateCreated, r.State(id).Status)
	r.must("start", id)
	r.WaitStatus(id, specs.StateStopped)
	equal(t, "result", "0\nrootless", read(t, filepath.Join(bundle, "rootfs", "result")))
	equal(t, "owner of what it wrote", nobody, ownerOf(t, filepath.Join(bundle, "rootfs", "result")))
	r.must("delete", id)
}

// subordinate gives nobody subordinate ids for the time of a test.
func subordinate(t *testing.T) {
	t.Helper()
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Skipf("no subordinate ids here: %v", err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(file, before, 0o644); err != nil {
				t.Error(err)
			}
		})
		if err := os.WriteFile(file, append(before, "nobody:200000:65536\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// manyIDs maps root to the user and the rest to subordinate ids.
func manyIDs(s *specs.Spec) {
	mapIDs(s, specs.LinuxIDMapping{ContainerID: 0, HostID: nobody, Size: 1}, specs.LinuxIDMapping{ContainerID: 1, HostID: 200000, Size: 65535})
}

func TestRootlessWithSubordinateIDs(t *testing.T) {
	r := newRootless(t)
	if _, err := exec.LookPath("newuidmap"); err != nil {
		t.Skip("newuidmap is not installed (Debian: uidmap)")
	}
	subordinate(t)
	id, pid := r.running(func(s *specs.Spec) {
		manyIDs(s)
		s.Process.User = specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7}}
	})
	equal(t, "uid_map", "0 65534 1 1 200000 65535", strings.Join(strings.Fields(proc(t, pid, "uid_map")), " "))
	equal(t, "gid_map", "0 65534 1 1 200000 65535", strings.Join(strings.Fields(proc(t, pid, "gid_map")), " "))
	equal(t, "Uid on the host", "200004 200004 200004 200004", status(t, pid, "Uid"))
	equal(t, "Groups on the host", "200006", status(t, pid, "Groups"))
	equal(t, "exec as its user", "5 6 7", r.must("exec", id, "sh", "-c", "echo $(id -u) $(id -G)"))
	equal(t, "exec as root", "0 0 7", r.must("exec", "-u", "0:0", id, "sh", "-c", "echo $(id -u) $(id -G)"))
	r.finish(id)
}

func TestRootlessWithIDsOfOthers(t *testing.T) {
	r := newRootless(t)
	res := r.as("run", "-b", r.bundle("id", func(s *specs.Spec) {
		mapIDs(s, specs.LinuxIDMapping{ContainerID: 0, HostID: 1000, Size: 10})
	}), r.ID("c"))
	wantFailure(t, res, "newuidmap")
}

func TestRootlessStateDirectory(t *testing.T) {
	r := newRootless(t)
	id := r.ID("c")
	own := func(args ...string) harness.Result {
		return r.RunWith(func(cmd *exec.Cmd) {
			r.become(cmd)
			cmd.Args = append([]string{"runc"}, args...) // without --root
		})
	}
	if res := own("run", "-d", "-b", r.bundle(sleeper, nil), id); res.Code != 0 {
		t.Fatal(res.Stderr)
	}
	info, err := os.Stat(filepath.Join(r.home, "runc", id))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "read or write for others", os.FileMode(0), info.Mode().Perm()&0o006)
	if res := own("delete", "--force", id); res.Code != 0 {
		t.Fatal(res.Stderr)
	}
	if _, err := os.Stat(filepath.Join(r.home, "runc", id)); err == nil {
		t.Error("the state directory outlives the container")
	}
}

func TestRootStateDirectory(t *testing.T) {
	e := harness.New(t)
	id := e.ID("c")
	noRoot := func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args[:1], cmd.Args[3:]...) }
	defer e.RunWith(noRoot, "delete", "--force", id)
	if res := e.RunWith(noRoot, "run", "-d", "-b", e.Bundle(sleeper, nil), id); res.Code != 0 {
		t.Fatal(res.Stderr)
	}
	if _, err := os.Stat(filepath.Join("/run/runc", id)); err != nil {
		t.Error(err)
	}
	if res := e.RunWith(noRoot, "delete", "--force", id); res.Code != 0 {
		t.Error(res.Stderr)
	}
}

func TestRootlessCannotTouchRootsContainers(t *testing.T) {
	r := newRootless(t)
	c := start(t, nil)
	res := r.RunWith(func(cmd *exec.Cmd) {
		r.become(cmd)
		cmd.Args[2] = c.Root
	}, "kill", c.id, "KILL")
	if res.Code == 0 {
		t.Error("nobody killed root's container")
	}
	if diff := cmp.Diff(specs.StateRunning, c.State(c.id).Status); diff != "" {
		t.Error(diff)
	}
}
