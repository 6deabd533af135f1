package launch

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Target is a process whose namespaces are to be joined.
type Target struct {
	PIDFD int
	// Namespaces are the kinds in which it differs from the runtime: joining one's own user
	// namespace is an error, setns(2).
	Namespaces []string
}

// NewTarget finds out in which namespaces a process differs from the caller. The pidfd must
// be of that pid.
func NewTarget(pid, pidfd int) (*Target, error) {
	t := &Target{PIDFD: pidfd}
	for _, n := range [...]struct{ kind, file string }{
		{"user", "user"},
		{"mount", "mnt"},
		{"pid", "pid"},
		{"network", "net"},
		{"ipc", "ipc"},
		{"uts", "uts"},
		{"cgroup", "cgroup"},
		{"time", "time"},
	} {
		var own, its unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+n.file, &own); err != nil {
			continue // a kind that this kernel does not have
		}
		path := "/proc/" + strconv.Itoa(pid) + "/ns/" + n.file
		if err := unix.Stat(path, &its); err != nil {
			return nil, &Error{Field: "linux.namespaces", Call: "stat " + path, Errno: err}
		}
		if own.Ino != its.Ino || own.Dev != its.Dev {
			t.Namespaces = append(t.Namespaces, n.kind)
		}
	}
	return t, nil
}

// has reports whether a kind is to be joined.
func (t *Target) has(kind string) bool {
	return slices.Contains(t.Namespaces, kind)
}
