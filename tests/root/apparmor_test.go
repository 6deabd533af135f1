package root_test

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/tests/harness"
)

// profileRules let a container do everything but read one file.
const profileRules = "file, capability, network, mount, umount, pivot_root, signal, ptrace, unix, dbus,\ndeny /etc/denied rwklx,"

// profileOf is the AppArmor profile that a process is under.
func profileOf(t *testing.T, pid int) string {
	t.Helper()
	return strings.TrimSuffix(proc(t, pid, "attr/apparmor/current"), " (enforce)")
}

func TestAppArmorProfile(t *testing.T) {
	profile := harness.LoadProfile(t, "init", profileRules)
	other := harness.LoadProfile(t, "other", profileRules)
	confined := func(s *specs.Spec) { s.Process.ApparmorProfile = profile }
	for name, edit := range map[string]change{
		"root":                    confined,
		"a user":                  func(s *specs.Spec) { confined(s); s.Process.User.UID = 1000 },
		"without no_new_privs":    func(s *specs.Spec) { confined(s); s.Process.NoNewPrivileges = false },
		"with no_new_privs":       func(s *specs.Spec) { confined(s); s.Process.NoNewPrivileges = true },
		"a user namespace":        func(s *specs.Spec) { mapped(s); confined(s) },
		"no mount namespace":      func(s *specs.Spec) { plain(s); confined(s) },
		"without a /proc":         func(s *specs.Spec) { confined(s); s.Mounts, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil, nil },
		"no pid namespace":        func(s *specs.Spec) { confined(s); withoutPID(s) },
		"a filter that is loaded": func(s *specs.Spec) { confined(s); s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow} },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, edit)
			equal(t, "init", profile, profileOf(t, c.pid))
			equal(t, "exec takes it from the config", profile, profileOf(t, c.execed(nil)))
			equal(t, "a process without one, too", profile, profileOf(t, c.execed(&specs.Process{})))
			equal(t, "exec --apparmor", other, profileOf(t, c.execed(nil, "--apparmor", other)))
			equal(t, "exec of a process with its own", other, profileOf(t, c.execed(&specs.Process{ApparmorProfile: other})))
			equal(t, "exec --apparmor unconfined", "unconfined", profileOf(t, c.execed(nil, "--apparmor", "unconfined")))
		})
	}
}

func TestAppArmorProfileIsEnforced(t *testing.T) {
	profile := harness.LoadProfile(t, "enforced", profileRules)
	const script = "cat /etc/denied 2>&1; cat /etc/allowed"
	files := func(rootfs string) {
		write(t, rootfs+"/etc/denied", "secret\n")
		write(t, rootfs+"/etc/allowed", "allowed\n")
	}
	out, _ := inRootfs(t, files, script, func(s *specs.Spec) { s.Process.ApparmorProfile = profile })
	equal(t, "with the profile", "cat: can't open '/etc/denied': Permission denied\nallowed", out)
	out, _ = inRootfs(t, files, script, nil)
	equal(t, "without", "secret\nallowed", out)
}

func TestAppArmorProfileOfARootlessContainer(t *testing.T) {
	profile := harness.LoadProfile(t, "rootless", profileRules)
	r := newRootless(t)
	bundle := r.bundle("cat /proc/self/attr/apparmor/current", func(s *specs.Spec) { s.Process.ApparmorProfile = profile })
	equal(t, "profile", profile+" (enforce)", r.must("run", "-b", bundle, r.ID("c")))
}

// withoutPID leaves the container in the host's pid namespace, where exec need not fork.
func withoutPID(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
}

func TestAppArmorProfileThatIsNotLoaded(t *testing.T) {
	harness.NeedRoot(t)
	harness.Need(t, harness.AppArmor)
	// podman looks for the path in back quotes.
	words := []string{"process.apparmorProfile", "gantry-none", "`/proc/self/attr/apparmor/exec`", "no such file or directory"}
	refuse(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "gantry-none" }, words...)
	c := start(t, nil)
	wantFailure(t, c.Run("exec", "--apparmor", "gantry-none", c.id, "echo", "started"), words...)
}

func TestNoAppArmor(t *testing.T) {
	harness.NeedRoot(t)
	if harness.AppArmor.Probe() == nil {
		t.Skip("needs a kernel without AppArmor")
	}
	words := []string{"process.apparmorProfile", "AppArmor is not enabled"}
	refuse(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "profile" }, words...)
	c := start(t, nil)
	wantFailure(t, c.Run("exec", "--apparmor", "profile", c.id, "echo", "started"), words...)
}
