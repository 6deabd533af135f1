package validate

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxErrno is the highest errno that a filter can return: beyond it the kernel cuts.
const maxErrno = 4095

// seccomp checks a profile that was decoded. Which system calls, architectures and
// flags exist is for libseccomp to say.
func (c *checker) seccomp(s *specs.LinuxSeccomp) {
	const path = "linux.seccomp"
	add := func(field, rule string) { c.add(path+field, refSeccomp, rule) }
	if s.DefaultAction == "" && len(s.Syscalls) == 0 {
		return // no filter at all, as in runc
	}
	switch {
	case !knownAction(s.DefaultAction):
		add(".defaultAction", actionRule(s.DefaultAction))
	case s.DefaultAction == specs.ActNotify:
		add(".defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
	}
	add(".defaultErrnoRet", errnoRule(s.DefaultErrnoRet, s.DefaultAction))
	add(".listenerPath", nulRule(s.ListenerPath))
	if s.ListenerMetadata != "" && s.ListenerPath == "" {
		add(".listenerMetadata", "needs listenerPath")
	}
	notify := false
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		notify = notify || call.Action == specs.ActNotify
		c.syscall(element(path+".syscalls", i), call)
	}
	if notify && s.ListenerPath == "" {
		add(".listenerPath", "must be set, for SCMP_ACT_NOTIFY is used")
	}
}

func (c *checker) syscall(path string, call *specs.LinuxSyscall) {
	add := func(field, rule string) { c.add(path+field, refSeccomp, rule) }
	if len(call.Names) == 0 {
		add(".names", "must not be empty")
	}
	for i, name := range call.Names {
		if name == "" {
			c.addAt(path+".names", i, "", refSeccomp, "must not be empty")
		}
		// The runtime itself must write to hand over the listener.
		if name == "write" && call.Action == specs.ActNotify {
			c.addAt(path+".names", i, "", refSeccomp, "SCMP_ACT_NOTIFY cannot be used for the write syscall")
		}
	}
	if !knownAction(call.Action) {
		add(".action", actionRule(call.Action))
	}
	add(".errnoRet", errnoRule(call.ErrnoRet, call.Action))
	for i, arg := range call.Args {
		if arg.Index > 5 {
			c.addAt(path+".args", i, ".index", refSeccomp,
				"is "+strconv.FormatUint(uint64(arg.Index), 10)+", must be from 0 to 5")
		}
		if !knownOperator(arg.Op) {
			c.addAt(path+".args", i, ".op", refSeccomp, "is "+quote(string(arg.Op))+", must be a SCMP_CMP_ of the spec")
		}
	}
}

func actionRule(a specs.LinuxSeccompAction) string {
	return "is " + quote(string(a)) + ", must be a SCMP_ACT_ of the spec"
}

func errnoRule(errno *uint, action specs.LinuxSeccompAction) string {
	if errno == nil {
		return ""
	}
	if action != specs.ActErrno && action != specs.ActTrace {
		return "must not be set, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one"
	}
	if *errno > maxErrno {
		return "is " + strconv.FormatUint(uint64(*errno), 10) + ", must be at most 4095"
	}
	return ""
}

func knownAction(a specs.LinuxSeccompAction) bool {
	switch a {
	case specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno,
		specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify:
		return true
	}
	return false
}

func knownOperator(op specs.LinuxSeccompOperator) bool {
	switch op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
		specs.OpGreaterThan, specs.OpMaskedEqual:
		return true
	}
	return false
}
