package launch

import (
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// The files in which a thread asks for a label. The kernel lets it ask for itself alone.
const (
	profileFile  = "self/attr/apparmor/exec" // Linux 5.8
	labelFile    = "self/attr/exec"
	keyLabelFile = "self/attr/keycreate"
)

// sessionKeyring joins a new keyring. The label that keys get ends with execve(2).
func (w *lowering) sessionKeyring(a *plan.SessionKeyring) {
	if a.Label != "" {
		w.procWrite(keyLabelFile, a.Label)
	}
	w.call(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, a.Name).ok(unix.ENOSYS, unix.EPERM)
}

func (w *lowering) labelMount(a *plan.LabelMount) {
	w.openat2(w.root, relative(a.Destination), unix.O_RDONLY|unix.O_DIRECTORY, inRoot).to(w.cur)
	w.call(unix.SYS_FSETXATTR, w.cur, "security.selinux", a.Label, len(a.Label), 0)
	w.close(w.cur)
}

// contextOption adds a label to the options of a file system.
func contextOption(data, label string) string {
	if label == "" {
		return data
	}
	return data + `,context="` + label + `"`
}
