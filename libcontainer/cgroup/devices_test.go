package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

func rule(allow bool, kind byte, major, minor int64, access string) plan.DeviceRule {
	return plan.DeviceRule{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}
}

var (
	denyAll  = rule(false, 'a', -1, -1, "rwm")
	allowAll = rule(true, 'a', -1, -1, "rwm")
)

// probes are accesses to devices of the host that every machine has. mknod happens
// below /tmp and leaves nothing.
var probes = []struct {
	name  string
	path  string
	flags int // of open(2), or -1 for mknod of the device
}{
	{"read null", "/dev/null", unix.O_RDONLY},
	{"write null", "/dev/null", unix.O_WRONLY},
	{"read+write null", "/dev/null", unix.O_RDWR},
	{"read zero", "/dev/zero", unix.O_RDONLY},
	{"write zero", "/dev/zero", unix.O_WRONLY},
	{"read full", "/dev/full", unix.O_RDONLY},
	{"mknod zero", "/dev/zero", -1},
	{"mknod null", "/dev/null", -1},
}

// reportAccess is the helper process: it prints which probes pass.
func reportAccess() {
	dir, err := os.MkdirTemp("", "gantry-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var passed []string
	for _, p := range probes {
		var err error
		if p.flags >= 0 {
			var fd int
			if fd, err = unix.Open(p.path, p.flags|unix.O_CLOEXEC, 0); err == nil {
				_ = unix.Close(fd)
			}
		} else {
			var st unix.Stat_t
			if err = unix.Stat(p.path, &st); err == nil {
				node := dir + "/node"
				err = unix.Mknod(node, unix.S_IFCHR|0o600, int(st.Rdev))
				_ = unix.Unlink(node)
			}
		}
		if err == nil {
			passed = append(passed, p.name)
		}
	}
	_, _ = os.Stdout.WriteString(strings.Join(passed, ", "))
}

// access runs the helper in the set's cgroups.
func access(t *testing.T, s *Set) string {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("/proc/self/exe")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[0] = self
	cmd.Env = append(os.Environ(), deviceHelper+"=1")
	// Devices may all be denied: /dev/null too, which exec would open for stdin.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	defer func() { _ = r.Close() }()
	cmd.Stdin, cmd.Stdout = r, &out
	start(t, s, cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDeviceRulesHaveTheSameEffectOnBothVersions(t *testing.T) {
	const all = "read null, write null, read+write null, read zero, write zero, read full, mknod zero, mknod null"
	cases := []struct {
		name  string
		rules []plan.DeviceRule
		want  string
	}{
		{"no rule denies everything", nil, ""},
		{"deny all", []plan.DeviceRule{denyAll}, ""},
		{"allow all", []plan.DeviceRule{allowAll}, all},
		{
			"one device in full",
			[]plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "rwm")},
			"read null, write null, read+write null, mknod null",
		},
		{"read only", []plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "r")}, "read null"},
		{
			"read and write in two rules are not both",
			[]plan.DeviceRule{denyAll, rule(true, 'c', 1, 3, "r"), rule(true, 'c', 1, -1, "w")},
			"read null, write null, write zero",
		},
		{
			"mknod of any device gives no access",
			[]plan.DeviceRule{denyAll, rule(true, 'c', -1, -1, "m"), rule(true, 'b', -1, -1, "m")},
			"mknod zero, mknod null",
		},
		{
			"a whole major number",
			[]plan.DeviceRule{denyAll, rule(true, 'c', 1, -1, "rw")},
			"read null, write null, read+write null, read zero, write zero, read full",
		},
		{"a minor number of any major", []plan.DeviceRule{denyAll, rule(true, 'c', -1, 5, "r")}, "read zero"},
		{"the other type does not count", []plan.DeviceRule{denyAll, rule(true, 'b', 1, 3, "rwm")}, ""},
		{
			"deny one device",
			[]plan.DeviceRule{allowAll, rule(false, 'c', 1, 3, "rwm")},
			"read zero, write zero, read full, mknod zero",
		},
		{
			"deny writing also denies read and write at once",
			[]plan.DeviceRule{allowAll, rule(false, 'c', 1, 3, "w")},
			"read null, read zero, write zero, read full, mknod zero, mknod null",
		},
	}
	for _, hierarchy := range []string{"devices", ""} {
		version := map[string]string{"devices": "v1", "": "v2"}[hierarchy]
		for _, c := range cases {
			t.Run(version+": "+c.name, func(t *testing.T) {
				cgs := place(t, hierarchy)
				s, err := Create(cgs, false)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.SetDevices(c.rules); err != nil {
					t.Fatal(err)
				}
				if got := access(t, s); got != c.want {
					t.Errorf("passed: %q, want %q", got, c.want)
				}
			})
		}
	}
}

func TestSetDevicesReplacesEarlierRules(t *testing.T) {
	for _, hierarchy := range []string{"devices", ""} {
		s := create(t, hierarchy)
		for range 2 {
			if err := s.SetDevices([]plan.DeviceRule{denyAll}); err != nil {
				t.Fatal(err)
			}
		}
		again := FromState(s.Paths())
		if err := again.SetDevices([]plan.DeviceRule{denyAll, rule(true, 'c', 1, 5, "r")}); err != nil {
			t.Fatal(err)
		}
		if got := access(t, s); got != "read zero" {
			t.Errorf("hierarchy %q passes %q", hierarchy, got)
		}
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestSetDevicesTakesSeveralOldProgramsOff(t *testing.T) {
	s := create(t, "")
	g := &s.groups[0]
	for range 3 {
		g.fresh = true // adds a program beside the others
		if err := s.SetDevices([]plan.DeviceRule{denyAll}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetDevices([]plan.DeviceRule{allowAll}); err != nil {
		t.Fatal(err)
	}
	dir, err := open(g.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(dir) }()
	programs, err := g.devicePrograms(dir)
	closeAll(programs)
	if err != nil || len(programs) != 1 {
		t.Errorf("%d programs on the cgroup, %v", len(programs), err)
	}
}

func TestSetDevicesWithoutAnyCgroup(t *testing.T) {
	if unprivileged() {
		t.Skip("needs a privileged caller")
	}
	if err := create(t, "memory").SetDevices(nil); !errors.Is(err, ErrNoDevices) {
		t.Errorf("got %v", err)
	}
}

func TestSplitRules(t *testing.T) {
	null := rule(true, 'c', 1, 3, "rwm")
	for _, c := range []struct {
		name  string
		rules []plan.DeviceRule
		allow bool
		rest  int
		err   error
	}{
		{"none is deny", nil, false, 0, nil},
		{"exceptions alone are from deny", []plan.DeviceRule{null}, false, 1, nil},
		{"a default is taken off", []plan.DeviceRule{denyAll, null}, false, 1, nil},
		{"an exception that is none", []plan.DeviceRule{allowAll, null}, false, 0, ErrRuleOrder},
		{"a second default", []plan.DeviceRule{denyAll, allowAll}, false, 0, ErrRuleOrder},
	} {
		allow, rest, err := splitRules(c.rules)
		if allow != c.allow || len(rest) != c.rest || !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, %d rules, %v", c.name, allow, len(rest), err)
		}
	}
}

func TestWholeIdentity(t *testing.T) {
	for mapping, want := range map[string]bool{
		"         0          0 4294967295": true,
		"0 1000 1":                         false,
		"0 0 65536":                        false,
		"0 1000 1\n1 100000 65536":         false,
		"":                                 false,
	} {
		if got := wholeIdentity(mapping); got != want {
			t.Errorf("%q: got %v", mapping, got)
		}
	}
}

func TestDeviceProgramIsExactlyAsLongAsNeeded(t *testing.T) {
	got := deviceProgram(false, []plan.DeviceRule{rule(true, 'c', 1, -1, "r")})
	want := []instruction{
		{code: opLoad32, registers: 2 | 1<<4},
		{code: opLoad32, registers: 4 | 1<<4, offset: 4},
		{code: opLoad32, registers: 5 | 1<<4, offset: 8},
		{code: opCopy32, registers: 3 | 2<<4},
		{code: opShift32, registers: 3, immediate: 16},
		{code: opAnd32, registers: 2, immediate: 0xffff},
		{code: opSkipNE, registers: 2, offset: 6, immediate: deviceChar},
		{code: opSkipNE, registers: 4, offset: 5, immediate: 1},
		{code: opCopy32, registers: 1 | 3<<4},
		{code: opAnd32, registers: 1, immediate: accessMknod | accessWrite},
		{code: opSkipNE, registers: 1, offset: 2},
		{code: opMove32, immediate: 1},
		{code: opExit},
		{code: opMove32},
		{code: opExit},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(instruction{})); diff != "" {
		t.Error(diff)
	}
}
