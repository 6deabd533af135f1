package root_test

import (
	"fmt"
	"os"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// hardLimit is this process's hard limit of open files.
func hardLimit(t *testing.T) uint64 {
	t.Helper()
	var soft, hard uint64
	if _, err := fmt.Sscan(limitsOf(t, os.Getpid())["Max open files"], &soft, &hard); err != nil {
		t.Fatal(err)
	}
	return hard
}

// TestRlimitAboveTheCallers: root raises a hard limit, in a user namespace too, where the
// container's own root could not; without the right it is an error that names the limit.
func TestRlimitAboveTheCallers(t *testing.T) {
	harness.NeedRoot(t)
	above := hardLimit(t) + 1
	for name, edit := range map[string]change{"plain": nil, "in a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			raise := func(s *specs.Spec) {
				s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: above, Hard: above}}
				if edit != nil {
					edit(s)
				}
			}
			if harness.SysResource.Probe() != nil {
				refuse(t, raise, "process.rlimits[0]", "RLIMIT_NOFILE", "operation not permitted")
			}
			harness.Need(t, harness.SysResource) // that it is refused was tested
			equal(t, "open files", fmt.Sprintf("%d %d", above, above), limitsOf(t, start(t, raise).pid)["Max open files"])
		})
	}
}

func TestOOMScoreBelowTheCallers(t *testing.T) {
	harness.NeedRoot(t)
	for name, edit := range map[string]change{"plain": nil, "in a user namespace": mapped} {
		t.Run(name, func(t *testing.T) {
			lower := func(s *specs.Spec) {
				s.Process.OOMScoreAdj = new(-999)
				if edit != nil {
					edit(s)
				}
			}
			if harness.SysResource.Probe() != nil {
				refuse(t, lower, "process.oomScoreAdj", "permission denied")
			}
			harness.Need(t, harness.SysResource) // that it is refused was tested
			c := start(t, lower)
			equal(t, "of the container", "-999", proc(t, c.pid, "oom_score_adj"))
			equal(t, "of exec", "-999", c.exec("cat /proc/self/oom_score_adj"))
		})
	}
}

// TestExecLimits: a process of exec has the limits of the container, and no_new_privs if
// either asks for it.
func TestExecLimits(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 99}}
		s.Process.NoNewPrivileges = false
	})
	equal(t, "limits", "77\n99", c.exec("ulimit -Sn; ulimit -Hn"))
	equal(t, "no_new_privs", "NoNewPrivs:\t0", c.exec("grep NoNewPrivs /proc/self/status"))
	equal(t, "no_new_privs when asked for", "NoNewPrivs:\t1", c.exec("grep NoNewPrivs /proc/self/status", "--no-new-privs"))
}

// TestExecCapabilities: added ones are usable, and neither inheritable nor ambient.
func TestExecCapabilities(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}}
	})
	const sets = "grep ^Cap /proc/self/status | sed 's/0000*//' | cut -f2 | tr '\\n' ' '"
	equal(t, "the container's permitted, effective and bounding; nothing inheritable or ambient", "1 1 1", c.exec(sets))
	equal(t, "with one more", "21 21 21", c.exec(sets, "--cap", "CAP_KILL"))
}

// TestExecCapabilityThatIsInheritable: one that the container may inherit becomes ambient.
func TestExecCapabilityThatIsInheritable(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		both := []string{"CAP_KILL", "CAP_CHOWN"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: both, Inheritable: both}
	})
	const sets = "grep ^Cap /proc/self/status | cut -f2 | sed 's/^0*//' | tr '\\n' ' '"
	equal(t, "inheritable, permitted, effective, bounding, ambient", "21 1 1 21 1", c.exec(sets, "--cap", "CAP_CHOWN", "--user", "1000"))
}
