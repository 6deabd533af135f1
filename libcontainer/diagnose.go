package libcontainer

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/criu"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// Diagnosis is what a program may learn of an error without reading its text. All but
// the code may be unknown, which is "".
type Diagnosis struct {
	Code    fault.Code
	Field   string // JSON path in config.json, or a flag
	Syscall string // the system call, or the program, that failed
	Errno   string // its name, such as ENOENT
	// Problems are all faults of a config that is refused, in its order; Field is the first's.
	Problems []FieldProblem
}

// FieldProblem is one fault of a config.
type FieldProblem struct{ Field, Text string }

// Diagnose looks into an error and what it wraps. The outermost error that knows a code, a
// field or a system call counts: a hook whose program is missing is a failed hook. Of
// joined errors it is the first, which the others came of.
func Diagnose(err error) Diagnosis {
	d := Diagnosis{}
	d.visit(err)
	if d.Code == "" {
		d.Code = fault.Internal
	}
	return d
}

func (d *Diagnosis) visit(err error) {
	if code := sentinelCode(err); code != "" {
		d.note(code, "", "") // what it wraps is for errors.Is: the kernel refused nothing
		return
	}
	d.read(err)
	switch e := err.(type) { //nolint:errorlint // this is the walk that errors.As does
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			d.visit(cause)
		}
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			d.visit(cause)
		}
	}
}

// read takes what this very error knows.
func (d *Diagnosis) read(err error) {
	switch e := err.(type) { //nolint:errorlint // visit unwraps
	case *fault.Error:
		d.note(e.Code, e.Field, "")
	case *bundle.SyntaxError:
		d.note(fault.ConfigInvalid, "", "")
	case *bundle.FieldError:
		d.problem(fault.ConfigInvalid, e.Path, e.Problem)
	case *validate.Error:
		for _, p := range e.Problems {
			d.problem(fault.ConfigInvalid, p.Path, p.Rule)
		}
	case *seccomp.ProfileError:
		for _, p := range e.Problems {
			d.problem(fault.ConfigInvalid, p.Field, p.Text)
		}
	case *plan.Problem:
		d.problem(fault.Unsupported, e.Field, e.What)
	case *launch.Error:
		d.note(launchCode(e), e.Field, e.Syscall())
	case *UpdateError:
		d.note("", e.Field, "")
	case *criu.Error:
		d.note(fault.CRIUFailed, "", "criu")
	case *criu.MissingError:
		d.note(fault.Unsupported, "", "criu")
	case *cgroup.FileError:
		d.note(fault.CgroupFailed, "", e.Syscall())
	case *cgroup.NotEmptyError:
		d.note(fault.CgroupFailed, "", "")
	case *state.DamagedError:
		d.note(fault.StateDamaged, "", "")
	case *os.SyscallError:
		d.note("", "", e.Syscall)
	case unix.Errno:
		if d.Errno == "" {
			d.Errno = unix.ErrnoName(e)
		}
	}
}

// note keeps what is not known yet.
func (d *Diagnosis) note(code fault.Code, field, syscall string) {
	if d.Code == "" {
		d.Code = code
	}
	if d.Field == "" {
		d.Field = field
	}
	if d.Syscall == "" {
		d.Syscall = syscall
	}
}

func (d *Diagnosis) problem(code fault.Code, field, text string) {
	d.note(code, field, "")
	d.Problems = append(d.Problems, FieldProblem{field, strings.ReplaceAll(text, "\n", " ")})
}

// sentinelCode is the code of an error that is one fixed value.
func sentinelCode(err error) fault.Code {
	switch err {
	case ErrInvalidID:
		return fault.IDInvalid
	case ErrExist:
		return fault.ContainerExists
	case ErrNotExist:
		return fault.ContainerNotFound
	case ErrNotRunning, ErrExecStopped:
		return fault.ContainerNotRunning
	case ErrStillRuns:
		return fault.ContainerRunning
	case ErrPaused:
		return fault.ContainerPaused
	case ErrNotPaused:
		return fault.ContainerNotPaused
	case state.ErrBusy:
		return fault.ContainerBusy
	case state.ErrIncomplete:
		return fault.StateDamaged
	case host.ErrKernel:
		return fault.KernelTooOld
	case launch.ErrVanished:
		return fault.InitDied
	case launch.ErrNoExeSwap:
		return fault.LaunchFailed
	case cgroup.ErrFrozen, cgroup.ErrNoFreezer, cgroup.ErrNotFrozen, cgroup.ErrNoDevices, cgroup.ErrRuleOrder, cgroup.ErrNotUnified:
		return fault.CgroupFailed
	}
	return ""
}

// launchCode tells the failures of a launch apart that callers treat differently.
func launchCode(e *launch.Error) fault.Code {
	switch e.Op.(type) {
	case *plan.FindProgram, *plan.Execute:
		switch {
		case errors.Is(e.Errno, unix.ENOENT), errors.Is(e.Errno, unix.ENOTDIR):
			return fault.ProgramNotFound
		case errors.Is(e.Errno, unix.ENOMEM), errors.Is(e.Errno, unix.E2BIG), errors.Is(e.Errno, unix.EAGAIN):
			return fault.LaunchFailed // the file is not to blame
		}
		return fault.ProgramNotExecutable
	case *plan.JoinCgroups, *plan.CreateCgroups, *plan.WriteCgroup, *plan.SetDevices:
		return fault.CgroupFailed
	}
	return fault.LaunchFailed
}
