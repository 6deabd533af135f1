package host

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// ProbeLSM asks which security modules can confine a process. It is a question of its own
// because few configs name a profile or a label.
func ProbeLSM() LSM {
	enabled, err := readFile("/sys/module/apparmor/parameters/enabled")
	return LSM{AppArmor: err == nil && bytes.HasPrefix(enabled, []byte("Y")), SELinux: hasSELinux()}
}

// hasSELinux asks as libselinux does: the module has its file system mounted, writable,
// and a policy, without which everything is labelled "kernel".
func hasSELinux() bool {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/selinux", &fs); err != nil || fs.Type != unix.SELINUX_MAGIC || fs.Flags&unix.ST_RDONLY != 0 {
		return false
	}
	label, err := readFile("/proc/self/attr/current")
	return err == nil && string(bytes.TrimRight(label, "\x00\n")) != "kernel"
}
