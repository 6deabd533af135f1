package root_test

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// TestLimitsBeyondTheCallers raises hard limits above the runtime's own and lowers
// oom_score_adj, as Docker does on request: both take CAP_SYS_RESOURCE, which the container
// itself doesn't get.
func TestLimitsBeyondTheCallers(t *testing.T) {
	harness.Need(t, harness.SysResource)
	beyond := func(s *specs.Spec) {
		s.Process.OOMScoreAdj = new(-321)
		s.Process.Rlimits = []specs.POSIXRlimit{
			{Type: "RLIMIT_NOFILE", Soft: 600000, Hard: 1000000},
			{Type: "RLIMIT_NICE", Soft: 10, Hard: 20},
			{Type: "RLIMIT_RTPRIO", Soft: 5, Hard: 7},
			{Type: "RLIMIT_MSGQUEUE", Soft: 1 << 30, Hard: 1 << 31},
			{Type: "RLIMIT_MEMLOCK", Soft: 1 << 40, Hard: 1 << 41},
		}
	}
	const script = "cat /proc/self/oom_score_adj; grep -E 'open files|nice|realtime p|msgqueue|locked m' /proc/self/limits | tr -s ' ' | sed 's, $,,'"
	const want = `-321
Max open files 600000 1000000 files
Max locked memory 1099511627776 2199023255552 bytes
Max msgqueue size 1073741824 2147483648 bytes
Max nice priority 10 20
Max realtime priority 5 7`
	for name, edit := range map[string]change{
		"the host's user namespace": beyond,
		"a user namespace":          func(s *specs.Spec) { mapped(s); beyond(s) },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			equal(t, "exec's limits", want, c.exec(script))
			equal(t, "oom_score_adj", "-321", proc(t, c.pid, "oom_score_adj"))
			equal(t, "open files", "600000 1000000", limitsOf(t, c.pid)["Max open files"])
			equal(t, "nice", "10 20", limitsOf(t, c.pid)["Max nice priority"])
		})
	}
}
