package root_test

import (
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// onV2 makes a command see a machine that has cgroup v2 only. If this one has not, it is
// the machine's own v2 hierarchy, mounted over /sys/fs/cgroup in a mount namespace of the
// command.
func onV2(c *exec.Cmd) {
	if harness.CgroupV2.Probe() == nil {
		return
	}
	const wrapper = `mount -t cgroup2 none /sys/fs/cgroup && exec "$@"`
	c.Args = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", wrapper, "sh", c.Path}, c.Args[1:]...)
	c.Path = "/usr/bin/unshare"
}

// TestCgroupV2 goes through the life of a container on pure cgroup v2. Which controllers
// it has is the machine's affair; devices, freezer and kill need none.
func TestCgroupV2(t *testing.T) {
	e := harness.New(t)
	run := func(args ...string) string {
		t.Helper()
		r := e.RunWith(onV2, args...)
		if r.Code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
		return r.Stdout
	}
	script := `cat /proc/self/cgroup | grep ^0:; mount | grep -c "type cgroup2 (ro"; ` +
		`echo x >/dev/zero && echo allowed; mknod /tmp/d c 254 7; cat /tmp/d 2>&1 | grep -o "not permitted"; exec sleep 60`
	bundle := e.Bundle(script, func(s *specs.Spec) {
		addNamespaces(s, specs.CgroupNamespace)
		for _, set := range []*[]string{&s.Process.Capabilities.Bounding, &s.Process.Capabilities.Effective, &s.Process.Capabilities.Permitted} {
			*set = append(*set, "CAP_MKNOD")
		}
	})
	id := e.ID("v2")
	run("create", "-b", bundle, id)
	run("start", id)
	if got := strings.TrimSpace(run("exec", id, "sh", "-c", "grep ^0: /proc/self/cgroup")); got != "0::/" {
		t.Errorf("an exec'ed process is in %q of its cgroup namespace", got)
	}
	run("pause", id)
	if st := run("state", id); !strings.Contains(st, `"paused"`) {
		t.Errorf("paused: %s", st)
	}
	run("resume", id)
	run("kill", id, "KILL")
	eventually(t, "stopped", func() bool { return strings.Contains(run("state", id), `"stopped"`) })
	run("delete", id)
	equal(t, "what the container saw", "0::/\n1\nallowed\nnot permitted\n",
		run("run", "-b", bundleThatEnds(e, bundle), e.ID("v2-run")))
}

// bundleThatEnds makes the bundle's script end instead of sleep.
func bundleThatEnds(e *harness.Env, bundle string) string {
	e.EditConfig(bundle, func(s *specs.Spec) {
		s.Process.Args[2] = strings.TrimSuffix(s.Process.Args[2], "exec sleep 60")
	})
	return bundle
}
