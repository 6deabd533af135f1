package libcontainer

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func TestFilterFlagsAreTold(t *testing.T) {
	for _, c := range []struct {
		filter *plan.Seccomp
		want   string
	}{
		{nil, ""},
		{&plan.Seccomp{}, "seccomp filter flags: 0"},
		{&plan.Seccomp{Flags: unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}, "seccomp filter flags: 6"},
		{&plan.Seccomp{Flags: 1 << 5, Notify: true}, "seccomp filter flags: 40"}, // WAIT_KILLABLE_RECV
	} {
		got := ""
		r := &Runtime{Debug: func(text string) { got = text }}
		r.traceFilter(c.filter)
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
	(&Runtime{}).traceFilter(&plan.Seccomp{}) // nobody listens
}
