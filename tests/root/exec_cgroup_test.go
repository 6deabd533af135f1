package root_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestExecCgroupOfControllers(t *testing.T) {
	needV1(t)
	c := start(t, nil)
	const script = "grep -E ':(memory|pids|freezer):' /proc/self/cgroup | sort -t: -k2 | cut -d: -f2,3 | sed 's,:.*/,:,'"
	mkdir(t, filepath.Join(cgroupOf(t, c.pid, "memory"), "sub"))
	mkdir(t, filepath.Join(cgroupOf(t, c.pid, "pids"), "sub"))
	equal(t, "one controller", "freezer:"+c.id+"\nmemory:sub\npids:"+c.id, c.exec(script, "--cgroup", "memory:/sub"))
	equal(t, "two controllers", "freezer:"+c.id+"\nmemory:sub\npids:sub", c.exec(script, "--cgroup", "memory,pids:sub"))
	equal(t, "the flag twice", "freezer:"+c.id+"\nmemory:sub\npids:sub", c.exec(script, "--cgroup", "memory:sub", "--cgroup", "pids:sub"))
	wantFailure(t, c.Run("exec", "--cgroup", "memory:nosuch", c.id, "echo", "ran"), "--cgroup")
	wantFailure(t, c.Run("exec", "--cgroup", "nosuch:sub", c.id, "echo", "ran"), "--cgroup", "nosuch")
	wantFailure(t, c.Run("exec", "--cgroup", "memory:../"+c.id+"x", c.id, "echo", "ran"), "bad sub cgroup path")
}

// onlyV2 is a container on pure cgroup v2, with the directory of its cgroup.
func onlyV2(t *testing.T) (run func(args ...string) harness.Result, id, dir string) {
	t.Helper()
	harness.NeedRoot(t)
	e := harness.New(t)
	run = func(args ...string) harness.Result { return e.RunWith(onV2, args...) }
	id = e.ID("c")
	bundle := e.Bundle(sleeper, func(s *specs.Spec) {
		hostCgroups(s)
		s.Linux.CgroupsPath = "/" + id
	})
	if r := run("run", "-d", "-b", bundle, id); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	mount := "/sys/fs/cgroup/unified"
	var st unix.Statfs_t
	if unix.Statfs(mount, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		mount = "/sys/fs/cgroup"
	}
	t.Cleanup(func() { run("delete", "--force", id) })
	return run, id, filepath.Join(mount, id)
}

// whereV2 is the v2 cgroup that an exec'ed process says it is in, below the container's.
func whereV2(t *testing.T, run func(args ...string) harness.Result, id string, flags ...string) string {
	t.Helper()
	r := run(append(append([]string{"exec"}, flags...), id, "grep", "^0:", "/proc/self/cgroup")...)
	if r.Code != 0 {
		t.Fatalf("exec %v: %+v", flags, r)
	}
	return strings.TrimPrefix(strings.TrimSpace(r.Stdout), "0::/"+id)
}

func TestExecCgroupOnV2(t *testing.T) {
	run, id, dir := onlyV2(t)
	mkdir(t, filepath.Join(dir, "sub"))
	equal(t, "without the flag", "", whereV2(t, run, id))
	equal(t, "with it", "/sub", whereV2(t, run, id, "--cgroup", "/sub"))
	wantFailure(t, run("exec", "--cgroup", "nosuch", id, "echo", "ran"), "--cgroup")
	wantFailure(t, run("exec", "--cgroup", "../"+id+"x", id, "echo", "ran"), "bad sub cgroup path")
}

// TestExecJoinsInitInAnInnerCgroup: a container that hands controllers on to cgroups of its
// own has no place for processes in its cgroup, cgroup-v2.rst "No Internal Process
// Constraint".
func TestExecJoinsInitInAnInnerCgroup(t *testing.T) {
	run, id, dir := onlyV2(t)
	if !strings.Contains(read(t, filepath.Join(dir, "cgroup.controllers")), "hugetlb") {
		harness.Lacks(t, harness.Controller("hugetlb"), "not on in the container's cgroup")
	}
	mkdir(t, filepath.Join(dir, "init.scope"))
	for range 20 { // the shell may fork a new sleep meanwhile
		for pid := range strings.FieldsSeq(read(t, filepath.Join(dir, "cgroup.procs"))) {
			_ = os.WriteFile(filepath.Join(dir, "init.scope", "cgroup.procs"), []byte(pid), 0)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+hugetlb"), 0); err != nil {
		t.Fatal(err)
	}
	equal(t, "cgroup of an exec'ed process", "/init.scope", whereV2(t, run, id))
	mkdir(t, filepath.Join(dir, "other"))
	equal(t, "with --cgroup", "/other", whereV2(t, run, id, "--cgroup", "other"))
	r := run("exec", "--cgroup", ".", id, "echo", "ran")
	wantFailure(t, r, "busy")
}

// TestExecOfAFrozenContainerWaits: born in a frozen cgroup, it runs when that is thawed.
func TestExecOfAFrozenContainerWaits(t *testing.T) {
	run, id, dir := onlyV2(t)
	run("pause", id)
	done := make(chan harness.Result)
	go func() { done <- run("exec", "--ignore-paused", id, "echo", "ran") }()
	eventually(t, "the process is there", func() bool { return strings.Count(read(t, filepath.Join(dir, "cgroup.procs")), "\n") >= 2 })
	select {
	case r := <-done:
		t.Errorf("it ran in a frozen cgroup: %+v", r)
	default:
	}
	run("resume", id)
	equal(t, "output", "ran\n", (<-done).Stdout)
}
