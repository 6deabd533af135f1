//go:build cgo

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// program compiles a checked profile to an array of struct sock_filter.
func program(s *specs.LinuxSeccomp) ([]byte, error) {
	code, archs, err := translate(s)
	if err != nil {
		return nil, err
	}
	code = compact(code, archs)
	if n := len(code); n > maxInstructions {
		return nil, fault.Atf("linux.seccomp", "compiles to %d instructions, above the kernel's %d", n, maxInstructions)
	}
	return encode(code), nil
}

// translate is libseccomp's program for a checked profile, with the stub for
// unknown calls in front, and the kernel's names of its architectures, the
// native one first.
func translate(s *specs.LinuxSeccomp) ([]instruction, []uint32, error) {
	defaultAction := action(s.DefaultAction, s.DefaultErrnoRet)
	filter, err := libseccomp.NewFilter(defaultAction)
	if err != nil {
		return nil, nil, fault.Atf("linux.seccomp.defaultAction", "%s: %w", s.DefaultAction, err)
	}
	defer filter.Release()
	archs, err := addArchs(filter, s.Architectures)
	if err != nil {
		return nil, nil, err
	}
	for i := range s.Syscalls {
		if err := addCall(filter, fmt.Sprintf("linux.seccomp.syscalls[%d]", i), &s.Syscalls[i], defaultAction); err != nil {
			return nil, nil, err
		}
	}
	code, err := export(filter)
	if err != nil {
		return nil, nil, fault.Atf("linux.seccomp", "export: %w", err)
	}
	var kernelArchs []uint32
	for _, arch := range archs {
		if number := auditArch(arch); !slices.Contains(kernelArchs, number) {
			kernelArchs = append(kernelArchs, number)
		}
	}
	return append(enosysStub(s, archs), decode(code)...), kernelArchs, nil
}

// export takes the way through a file: libseccomp exports to memory only from
// 2.6 on.
func export(filter *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "filter")
	defer file.Close()
	if err := filter.ExportBPF(file); err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
}

// addArchs adds the architectures of a profile to the native one, which is
// always there, and returns all of them.
func addArchs(filter *libseccomp.ScmpFilter, names []specs.Arch) ([]libseccomp.ScmpArch, error) {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return nil, fault.Atf("linux.seccomp.architectures", "native: %w", err)
	}
	archs := []libseccomp.ScmpArch{native}
	for i, name := range names {
		arch, err := libseccomp.GetArchFromString(strings.TrimPrefix(string(name), "SCMP_ARCH_"))
		if err == nil {
			err = filter.AddArch(arch)
		}
		if err != nil {
			return nil, fault.Atf(fmt.Sprintf("linux.seccomp.architectures[%d]", i), "%s: %w", name, err)
		}
		if !slices.Contains(archs, arch) {
			archs = append(archs, arch)
		}
	}
	return archs, nil
}

// addCall adds the rules of one entry of linux.seccomp.syscalls, the one at the path.
// libseccomp refuses a rule that says what the default says, and such a rule changes
// nothing.
func addCall(filter *libseccomp.ScmpFilter, path string, call *specs.LinuxSyscall, defaultAction libseccomp.ScmpAction) error {
	act := action(call.Action, call.ErrnoRet)
	if act == defaultAction {
		return nil
	}
	alternatives, err := conditions(path, call.Args)
	if err != nil {
		return err
	}
	for i, name := range call.Names {
		number, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			continue // no kernel that this libseccomp knows has it
		}
		for _, conds := range alternatives {
			if err := filter.AddRuleConditional(number, act, conds); err != nil {
				return fault.Atf(fmt.Sprintf("%s.names[%d]", path, i), "rule for %s: %w", name, err)
			}
		}
	}
	return nil
}

// conditions groups the comparisons of a rule: all of them together are one
// condition, unless they speak of one argument twice. libseccomp has no such
// condition, and since its beginnings runc takes the comparisons of such a
// rule, all of them, for alternatives.
func conditions(path string, args []specs.LinuxSeccompArg) ([][]libseccomp.ScmpCondition, error) {
	var all []libseccomp.ScmpCondition
	var seen [6]bool
	twice := false
	for i, arg := range args {
		cond, err := libseccomp.MakeCondition(arg.Index, operator(arg.Op), arg.Value, arg.ValueTwo)
		if err != nil {
			return nil, fault.At(fmt.Sprintf("%s.args[%d]", path, i), err)
		}
		all = append(all, cond)
		twice = twice || seen[arg.Index]
		seen[arg.Index] = true
	}
	if !twice {
		return [][]libseccomp.ScmpCondition{all}, nil
	}
	var alternatives [][]libseccomp.ScmpCondition
	for i := range all {
		alternatives = append(alternatives, all[i:i+1])
	}
	return alternatives, nil
}

// action is libseccomp's word for an action of a checked profile. The errno
// of ERRNO and TRACE is EPERM where the profile names none.
func action(name specs.LinuxSeccompAction, errno *uint) libseccomp.ScmpAction {
	code := int16(unix.EPERM)
	if errno != nil {
		code = int16(*errno)
	}
	switch name {
	case specs.ActKill, specs.ActKillThread:
		return libseccomp.ActKillThread
	case specs.ActKillProcess:
		return libseccomp.ActKillProcess
	case specs.ActTrap:
		return libseccomp.ActTrap
	case specs.ActErrno:
		return libseccomp.ActErrno.SetReturnCode(code)
	case specs.ActTrace:
		return libseccomp.ActTrace.SetReturnCode(code)
	case specs.ActAllow:
		return libseccomp.ActAllow
	case specs.ActLog:
		return libseccomp.ActLog
	case specs.ActNotify:
		return libseccomp.ActNotify
	}
	return libseccomp.ActInvalid
}

func operator(name specs.LinuxSeccompOperator) libseccomp.ScmpCompareOp {
	switch name {
	case specs.OpNotEqual:
		return libseccomp.CompareNotEqual
	case specs.OpLessThan:
		return libseccomp.CompareLess
	case specs.OpLessEqual:
		return libseccomp.CompareLessOrEqual
	case specs.OpEqualTo:
		return libseccomp.CompareEqual
	case specs.OpGreaterEqual:
		return libseccomp.CompareGreaterEqual
	case specs.OpGreaterThan:
		return libseccomp.CompareGreater
	case specs.OpMaskedEqual:
		return libseccomp.CompareMaskedEqual
	}
	return libseccomp.CompareInvalid
}
