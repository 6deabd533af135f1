package host

import (
	"os"
	"strings"
	"testing"
)

// TestProbeLSM hides the machine's /sys/module in a private mount namespace.
func TestProbeLSM(t *testing.T) {
	needRoot(t)
	const hide = "mount -t tmpfs none /sys/module\n"
	const parameters = "mkdir -p /sys/module/apparmor/parameters; cd /sys/module/apparmor/parameters\n"
	for script, want := range map[string]bool{
		hide:                                      false,
		hide + parameters + "echo Y >enabled":     true,
		hide + parameters + "echo N >enabled":     false,
		hide + parameters + "mkdir enabled":       false,
		hide + parameters + "touch enabled":       false,
		hide + "mkdir /sys/module/tomoyo; true\n": false,
	} {
		if got := probeIn(t, script, "-m").LSM.AppArmor; got != want {
			t.Errorf("%q: AppArmor %v", script, got)
		}
	}
	// A directory that only looks like SELinux's file system is none.
	fake := "mount -t tmpfs none /sys/fs; mkdir /sys/fs/selinux; touch /sys/fs/selinux/enforce"
	if probeIn(t, fake, "-m").LSM.SELinux {
		t.Error("SELinux is seen in a tmpfs")
	}
	b, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		t.Skip("needs securityfs to compare with the kernel's own list")
	}
	got := ProbeLSM()
	if has := strings.Contains(string(b), "apparmor"); got.AppArmor != has {
		t.Errorf("AppArmor %v, the kernel has %s", got.AppArmor, b)
	}
	if !strings.Contains(string(b), "selinux") && got.SELinux {
		t.Errorf("SELinux, the kernel has %s", b)
	}
}
