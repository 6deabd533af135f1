package launch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Error says which operation of a plan failed, in which system call, and why. It
// unwraps to the errno.
type Error struct {
	Field string      // JSON path in config.json
	Op    plan.Action // nil when only `start` learned of it
	Call  string      // the system call, or a program; behind a space, what it was for
	Errno error       // unix.Errno, or ErrShort
}

// ErrShort is the cause when a call succeeded for less than was asked: the peer is gone.
var ErrShort = errors.New("connection closed")

// ErrVanished says that the child ended without a report: killed, or out of memory.
var ErrVanished = errors.New("container init ended before it ran the program")

func (e *Error) Error() string { return mounting(e.Op) + e.text() }

// mounting is how runc begins to tell of a bind mount of a container in the making that failed:
// its users look for it.
func mounting(do plan.Action) string {
	a, ok := do.(*plan.BindMount)
	if !ok || a.NoSymlinks || a.Remount { // in a container that runs, or no mount
		return ""
	}
	return fmt.Sprintf("unable to start container process: error during container init: error mounting %q to rootfs at %q: ", a.Source, a.Destination)
}

func (e *Error) text() string {
	if x, young := e.feature(); young {
		return e.Field + ": " + e.Op.String() + ": " + e.Call + ": " + x.Needed() + ": " + e.Errno.Error()
	}
	switch op := e.Op.(type) {
	case *plan.FindProgram:
		return e.Field + ": " + programError(op.Name, e.Errno)
	case *plan.Execute:
		return e.Field + ": exec " + op.Args[0] + ": " + e.Errno.Error()
	case *plan.Mount:
		if errors.Is(e.Errno, unix.ELOOP) && (op.Type == "proc" || op.Type == "sysfs") {
			return fmt.Sprintf("%s: filesystem %q must be mounted on ordinary directory: %v", e.Field, op.Type, e.Errno)
		}
		if errors.Is(e.Errno, unix.EINVAL) && strings.Contains(op.Data, `context="`) {
			return fmt.Sprintf("%s: %s: %s: linux.mountLabel, or another option, is not valid: %v", e.Field, op, e.Call, e.Errno)
		}
	case *plan.BindMount:
		if op.CopySymlink && (e.Call == "futex" || e.Call == "readlinkat") {
			return e.Field + ": " + op.String() + ": there is something else: " + unix.EEXIST.Error()
		}
		// All that is left of ENOTDIR in move_mount(2); dockerd looks for its text.
		if e.Call == "move_mount" && errors.Is(e.Errno, unix.EINVAL) {
			return e.Field + ": " + op.String() + ": move_mount: not a directory, or a directory on a file: " + e.Errno.Error()
		}
	case *plan.OpenSources: // one of many, and the field says which
		return e.Field + ": " + e.Call + ": " + e.Errno.Error()
	case *plan.ChangeDir:
		if errors.Is(e.Errno, unix.ELOOP) {
			return e.Field + ": " + op.Path + " leads through a link of procfs or a loop of symlinks: " + e.Errno.Error()
		}
	case *plan.ChangeProfile:
		return e.attribute(profileFile)
	case *plan.SetExecLabel:
		return e.attribute(labelFile)
	case *plan.SetScheduler:
		if errors.Is(e.Errno, unix.EPERM) {
			return e.Field + ": " + op.String() + ": " + e.Call + ": " + schedulerRight(op.Policy) + ": " + e.Errno.Error()
		}
	case *plan.SessionKeyring:
		if e.Call != "keyctl" {
			return e.attribute(keyLabelFile)
		}
		if errors.Is(e.Errno, unix.EDQUOT) {
			return e.Field + ": " + op.String() + ": the user has as many keys as the sysctl kernel.keys.maxkeys or maxbytes allows" +
				" (with --no-new-keyring the container would use the caller's): " + e.Errno.Error()
		}
	case nil:
		return e.Field + ": " + e.Call + ": " + e.Errno.Error()
	}
	return e.Field + ": " + e.Op.String() + ": " + e.Call + ": " + e.Errno.Error()
}

// attribute words a label that was refused; podman looks for the file in back quotes.
func (e *Error) attribute(file string) string {
	return e.Field + ": " + e.Op.String() + ": " + e.Call + " `/proc/" + file + "`: " + e.Errno.Error()
}

// schedulerRight says what a policy may lack when it is refused, sched(7).
func schedulerRight(policy string) string {
	switch policy {
	case "SCHED_DEADLINE":
		return "needs CAP_SYS_NICE, and this process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus)"
	case "SCHED_FIFO", "SCHED_RR":
		return "needs CAP_SYS_NICE, and on cgroup v1 a real-time runtime (linux.resources.cpu.realtimeRuntime)"
	}
	return "needs CAP_SYS_NICE"
}

// feature is what an older kernel would refuse in this way.
func (e *Error) feature() (x host.Feature, young bool) {
	switch op := e.Op.(type) {
	case *plan.Mount:
		return host.OverlayInUserNS, op.Type == "overlay" && errors.Is(e.Errno, unix.EPERM)
	case *plan.SetMemoryPolicy:
		switch {
		case !errors.Is(e.Errno, unix.EINVAL):
		case op.Mode == host.WeightedInterleave.Name:
			return host.WeightedInterleave, true
		case op.Mode == host.PreferredMany.Name:
			return host.PreferredMany, true
		case slices.Contains(op.Flags, host.NUMABalancing.Name):
			return host.NUMABalancing, true
		}
	}
	return x, false
}

func (e *Error) Unwrap() error { return e.Errno }

// Syscall is the name of the system call, or program, alone.
func (e *Error) Syscall() string {
	name, _, _ := strings.Cut(e.Call, " ")
	return name
}

// programError words a program that can't be found as Go's os/exec does: dockerd and
// podman read it (docs/decisions/0008). There, what a file lacks is told without "stat". A
// directory gets the errno of execve(2), too, which is the one that podman looks for.
func programError(name string, errno error) string {
	switch {
	case errors.Is(errno, unix.EISDIR):
		return fmt.Sprintf("exec: %q: %v: %v", name, errno, unix.EACCES)
	case errors.Is(errno, unix.EACCES):
		return fmt.Sprintf("exec: %q: %v", name, errno)
	}
	for _, c := range name {
		if c == '/' {
			return fmt.Sprintf("exec: %q: stat %s: %v", name, name, errno)
		}
	}
	return fmt.Sprintf("exec: %q: executable file not found in $PATH", name)
}

// lateKind is what a step behind AwaitStart does; it stands for the step's index in a
// report to `start`.
type lateKind uint32

const (
	lateNoNewPrivileges lateKind = iota + 1
	lateSeccomp
	lateCapabilities
	lateExec
)

// lateMark tells a lateKind from an index.
const lateMark = 1 << 30

// lateError words a report that `start` received; execute is what the child was about to do.
func lateError(id uint32, execute *plan.Execute, errno error) error {
	switch lateKind(id &^ lateMark) {
	case lateNoNewPrivileges:
		return &Error{Field: "process.noNewPrivileges", Call: "prctl", Errno: errno}
	case lateSeccomp:
		return &Error{Field: "linux.seccomp", Call: "seccomp", Errno: errno}
	case lateCapabilities:
		return &Error{Field: "process.capabilities", Call: "capset", Errno: errno}
	default:
		return &Error{Field: "process.args", Op: execute, Call: "execve", Errno: errno}
	}
}

// failure turns a report of the child into an error.
func (w *lowering) failure(ops []plan.Op, id, errno uint32) error {
	var cause error = unix.Errno(errno)
	if errno == 0 {
		cause = ErrShort
	}
	if id&lateMark != 0 || int(id) >= len(w.ops) {
		execute, _ := ops[len(ops)-1].Do.(*plan.Execute)
		return lateError(id, execute, cause)
	}
	op := &ops[w.ops[id]]
	s := w.stepAt(id)
	return &Error{Field: op.Field, Op: op.Do, Call: callName(int(s.nr)), Errno: cause}
}
