package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

func TestRootlessWithoutCgroupRights(t *testing.T) {
	r := newRootless(t)
	id, pid := r.running(nil)
	equal(t, "cgroups", proc(t, os.Getpid(), "cgroup"), proc(t, pid, "cgroup"))
	equal(t, "ps", true, strings.Contains(r.must("ps", "-f", "json", id), fmt.Sprint(pid)))
	wantFailure(t, r.as("pause", id), "cgroups not configured for container")
	equal(t, "exec", "ran", r.must("exec", id, "echo", "ran"))
	r.finish(id)
}

func TestRootlessLimitNeedsCgroupRights(t *testing.T) {
	r := newRootless(t)
	for field, edit := range map[string]change{
		"linux.resources.pids.limit": func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(5))}}
		},
		"linux.cgroupsPath": func(s *specs.Spec) { s.Linux.CgroupsPath = "/gantry-test-rootless" },
	} {
		wantFailure(t, r.as("run", "-b", r.bundle("echo started", edit), r.ID("c")), field)
	}
}

// TestRootlessInADelegatedCgroup: on cgroup v2 whoever owns a part of the tree makes
// containers there, with limits, without systemd and without root.
func TestRootlessInADelegatedCgroup(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.CgroupV2, harness.Controller("pids"))
	r := newRootless(t)
	top := "/sys/fs/cgroup/" + r.ID("delegated")
	mkdir(t, top)
	mkdir(t, top+"/shell")
	t.Cleanup(func() { _ = os.Remove(top + "/shell"); _ = os.Remove(top) })
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids"), 0); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", "/cgroup.procs", "/cgroup.subtree_control", "/shell", "/shell/cgroup.procs"} {
		if err := os.Chown(top+file, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(args ...string) string {
		t.Helper()
		res := r.RunWith(func(cmd *exec.Cmd) {
			r.become(cmd)
			const script = `echo 0 >$0/shell/cgroup.procs && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`
			cmd.Args = append([]string{"sh", "-c", script, top, cmd.Path}, cmd.Args[1:]...)
			cmd.Path, cmd.SysProcAttr = "/bin/sh", nil
		}, args...)
		if res.Code != 0 {
			t.Fatalf("%v: %+v", args, res)
		}
		return strings.TrimSpace(res.Stdout)
	}
	id := r.ID("c")
	inside("run", "-d", "-b", r.bundle(sleeper, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(50))}}
	}), id)
	pid := r.State(id).Pid
	equal(t, "cgroup", strings.TrimPrefix(top, "/sys/fs/cgroup")+"/"+id, unified(t, pid))
	equal(t, "pids.max", "50", read(t, filepath.Join(top, id, "pids.max")))
	equal(t, "exec", "ran", inside("exec", id, "echo", "ran"))
	inside("pause", id)
	inside("delete", "--force", id)
	if _, err := os.Stat(filepath.Join(top, id)); err == nil {
		t.Error("the cgroup outlives the container")
	}
}

func TestRootlessJoinsItsOwnUserNamespace(t *testing.T) {
	r := newRootless(t)
	first, pid := r.running(nil)
	id := r.ID("second")
	r.must("run", "-d", "-b", r.bundle(sleeper, func(s *specs.Spec) {
		i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
		s.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/user", pid)
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
	}), id)
	second := r.State(id).Pid
	link := func(pid int) string {
		t.Helper()
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	equal(t, "user namespace", link(pid), link(second))
	equal(t, "exec", "0", r.must("exec", id, "id", "-u"))
	r.must("delete", "--force", id)
	r.finish(first)
}
