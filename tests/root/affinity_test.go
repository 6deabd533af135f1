package root_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// boundTo starts the runtime as one who may use a single CPU.
func boundTo(cpu string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"taskset", "-c", cpu, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/taskset"
	}
}

// TestCallersCPUsAreNotTheContainers: a service manager may keep the runtime's caller on few
// CPUs; what it starts in a container has all that the container's cgroup has.
func TestCallersCPUsAreNotTheContainers(t *testing.T) {
	harness.NeedRoot(t)
	if _, err := os.Stat("/usr/bin/taskset"); err != nil {
		t.Skip("needs taskset of util-linux")
	}
	all := status(t, os.Getpid(), "Cpus_allowed_list")
	if !strings.HasPrefix(all, "0") || all == "0" {
		t.Skip("needs CPU 0 and another one")
	}
	const show = "grep Cpus_allowed_list: /proc/self/status"
	cpus := func(r harness.Result) string {
		t.Helper()
		if r.Code != 0 {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
		return strings.TrimSpace(strings.TrimPrefix(r.Stdout, "Cpus_allowed_list:"))
	}
	inCpuset := func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1", Mems: "0"} }

	e := harness.New(t)
	equal(t, "run", all, cpus(e.RunWith(boundTo("0"), "run", "-b", e.Bundle(show, nil), e.ID("run"))))
	c := start(t, nil)
	equal(t, "exec", all, cpus(c.RunWith(boundTo("0"), "exec", c.id, "sh", "-c", show)))

	t.Run("in a cpuset", func(t *testing.T) {
		if _, err := os.Stat("/sys/fs/cgroup/cpuset/cpuset.cpus"); err != nil { // no v1
			harness.Need(t, harness.Controller("cpuset"))
		}
		e := harness.New(t)
		for _, cpu := range []string{"0", "1"} {
			id := e.ID("run" + cpu)
			equal(t, "run from CPU "+cpu, "1", cpus(e.RunWith(boundTo(cpu), "run", "-b", e.Bundle(show, inCpuset), id)))
		}
		c := start(t, inCpuset)
		equal(t, "exec", "1", cpus(c.RunWith(boundTo("0"), "exec", c.id, "sh", "-c", show)))
	})
}
