package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// decoded is the error of a config.json.
func decoded(text string) error {
	_, _, err := bundle.Decode([]byte(text))
	return err
}

func TestDiagnose(t *testing.T) {
	missing := &launch.Error{Field: "process.args[0]", Op: &plan.FindProgram{Name: "x"}, Call: "faccessat2", Errno: unix.ENOENT}
	execute := func(errno error) error {
		return &launch.Error{Field: "process.args", Op: &plan.Execute{Args: []string{"x"}}, Call: "execve", Errno: errno}
	}
	for name, c := range map[string]struct {
		err  error
		want Diagnosis
	}{
		"nothing is known":     {errors.New("x"), Diagnosis{Code: fault.Internal}},
		"an errno alone":       {os.NewSyscallError("eventfd2", unix.EMFILE), Diagnosis{Code: fault.Internal, Syscall: "eventfd2", Errno: "EMFILE"}},
		"a flag":               {fault.FlagFailed.Atf("--pid-file", "x: %w", unix.EROFS), Diagnosis{Code: fault.FlagFailed, Field: "--pid-file", Errno: "EROFS"}},
		"a sentinel, wrapped":  {fmt.Errorf("load: %w", ErrNotExist), Diagnosis{Code: fault.ContainerNotFound}},
		"an id":                {state.CheckID("a/b"), Diagnosis{Code: fault.IDInvalid}},
		"an old kernel":        {(&host.Facts{Kernel: host.Version{Major: 4}}).CheckKernel(), Diagnosis{Code: fault.KernelTooOld}},
		"a damaged state":      {&state.DamagedError{Path: "x", Err: state.ErrNewer}, Diagnosis{Code: fault.StateDamaged}},
		"no program":           {missing, Diagnosis{Code: fault.ProgramNotFound, Field: "process.args[0]", Syscall: "faccessat2", Errno: "ENOENT"}},
		"a script without one": {execute(unix.ENOENT), Diagnosis{Code: fault.ProgramNotFound, Field: "process.args", Syscall: "execve", Errno: "ENOENT"}},
		"no permission":        {execute(unix.EACCES), Diagnosis{Code: fault.ProgramNotExecutable, Field: "process.args", Syscall: "execve", Errno: "EACCES"}},
		"another architecture": {execute(unix.ENOEXEC), Diagnosis{Code: fault.ProgramNotExecutable, Field: "process.args", Syscall: "execve", Errno: "ENOEXEC"}},
		"too many arguments":   {execute(unix.E2BIG), Diagnosis{Code: fault.LaunchFailed, Field: "process.args", Syscall: "execve", Errno: "E2BIG"}},
		"a hook without its program": {
			fault.HookFailed.Atf("hooks.prestart[0]", "error running hook: %w", missing),
			Diagnosis{Code: fault.HookFailed, Field: "hooks.prestart[0]", Syscall: "faccessat2", Errno: "ENOENT"},
		},
		"a limit": {
			fault.CgroupFailed.At("linux.resources.pids.limit", &cgroup.FileError{Op: "write", Path: "/x", Err: unix.EINVAL}),
			Diagnosis{Code: fault.CgroupFailed, Field: "linux.resources.pids.limit", Syscall: "write", Errno: "EINVAL"},
		},
		"no controller to be found": {
			&cgroup.FileError{Op: "find controller x in", Path: "/x", Err: unix.ENOENT},
			Diagnosis{Code: fault.CgroupFailed, Errno: "ENOENT"},
		},
		"a call with what it was for": {
			&launch.Error{Field: "linux.uidMappings", Call: "write uid_map", Errno: unix.EPERM},
			Diagnosis{Code: fault.LaunchFailed, Field: "linux.uidMappings", Syscall: "write", Errno: "EPERM"},
		},
		"the first of joined errors": {
			errors.Join(execute(unix.EACCES), fault.CgroupFailed.At("linux", unix.EBUSY)),
			Diagnosis{Code: fault.ProgramNotExecutable, Field: "process.args", Syscall: "execve", Errno: "EACCES"},
		},
		"no JSON": {decoded("{"), Diagnosis{Code: fault.ConfigInvalid}},
		"wrong types": {
			decoded(`{"hostname": 3, "process": {"cwd": []}}`),
			Diagnosis{Code: fault.ConfigInvalid, Field: "hostname", Problems: []FieldProblem{
				{"hostname", "want a string, got a number"}, {"process.cwd", "want a string, got an array"},
			}},
		},
		"broken rules": {
			fmt.Errorf("x: %w", &validate.Error{Problems: []validate.Problem{{Path: "a", Rule: "b"}, {Path: "c", Rule: "d"}}}),
			Diagnosis{Code: fault.ConfigInvalid, Field: "a", Problems: []FieldProblem{{"a", "b"}, {"c", "d"}}},
		},
		"what is not supported": {
			errors.Join(&plan.Problem{Field: "a", What: "b"}, &plan.Problem{Field: "c", What: "d"}),
			Diagnosis{Code: fault.Unsupported, Field: "a", Problems: []FieldProblem{{"a", "b"}, {"c", "d"}}},
		},
		"a seccomp profile": {
			&seccomp.ProfileError{Problems: []seccomp.Problem{{Field: "linux.seccomp.flags[0]", Text: "b"}}},
			Diagnosis{Code: fault.ConfigInvalid, Field: "linux.seccomp.flags[0]", Problems: []FieldProblem{{"linux.seccomp.flags[0]", "b"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Diagnose(c.err)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", c.err, diff)
			}
		})
	}
}
