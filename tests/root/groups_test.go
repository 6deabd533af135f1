package root_test

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestKeepOriginalGroups is crun's annotation: the process has the groups of the runtime's
// caller, for which a user namespace may have no ids. Without it they are given up.
func TestKeepOriginalGroups(t *testing.T) {
	harness.NeedRoot(t)
	owner := start(t, mapped)
	joined := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/ns/user", owner.pid)})
	}
	for name, tc := range map[string]struct {
		namespace change
		inside    string
	}{
		"no user namespace":        {nil, "4321 4322"},
		"a user namespace":         {mapped, "65534 65534"},
		"another's user namespace": {joined, "65534 65534"},
	} {
		t.Run(name, func(t *testing.T) {
			c, within := startWithGroups(t, "1", tc.namespace)
			equal(t, "Groups", "4321 4322", status(t, c.pid, "Groups"))
			equal(t, "Groups of an exec'ed process", tc.inside, within)

			c, within = startWithGroups(t, "0", tc.namespace)
			equal(t, "Groups that are not kept", "", status(t, c.pid, "Groups"))
			equal(t, "Groups of an exec'ed process that are not kept", "", within)
		})
	}
}

// startWithGroups starts a container as a caller that is in two groups, and returns the
// groups that a process of the same caller has within, too.
func startWithGroups(t *testing.T, keep string, namespace change) (c *container, within string) {
	t.Helper()
	e := harness.New(t)
	c = &container{Env: e, t: t, id: e.ID("c")}
	bundle := e.Bundle(sleeper, func(s *specs.Spec) {
		s.Annotations = map[string]string{"run.oci.keep_original_groups": keep}
		if namespace != nil {
			namespace(s)
		}
	})
	call := func(args ...string) string {
		t.Helper()
		r := e.RunWith(func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4321, 4322}}}
		}, args...)
		if r.Code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
		return r.Stdout
	}
	call("run", "-d", "-b", bundle, c.id)
	c.pid = e.State(c.id).Pid
	return c, strings.Join(strings.Fields(call("exec", c.id, "sed", "-n", "s/^Groups://p", "/proc/self/status")), " ")
}
