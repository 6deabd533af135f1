// Package profile decodes and checks linux.seccomp of config.json. It makes
// no use of libseccomp, so it builds without cgo.
package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
)

// Problem is one fault of a profile.
type Problem struct {
	Field string // JSON path, from linux.seccomp on
	Text  string
}

// Problems is every fault of a profile, in the order of its fields.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Field + ": " + problem.Text
	}
	return strings.Join(lines, "; ")
}

// Decode reads the JSON text of linux.seccomp, as strictly as the rest of config.json. It
// checks types only; all wrong ones are Problems.
func Decode(raw []byte) (*specs.LinuxSeccomp, error) {
	s, err := bundle.DecodeSeccomp(raw)
	if err == nil {
		return s, nil
	}
	var wrong bundle.FieldErrors
	if !errors.As(err, &wrong) {
		return nil, Problems{{Field: "linux.seccomp", Text: err.Error()}}
	}
	var problems Problems
	for _, w := range wrong {
		problems = append(problems, Problem{Field: w.Path, Text: w.Problem})
	}
	return nil, problems
}

// Empty tells whether a profile says nothing. runc takes that for "no
// filter", though runtime-spec requires defaultAction.
func Empty(s *specs.LinuxSeccomp) bool {
	return s.DefaultAction == "" && len(s.Syscalls) == 0
}

// Check returns Problems, or nil, for a profile that isn't Empty. The rules
// are those of runtime-spec config-linux.md, "Seccomp", and what runc refuses
// beyond it. A name of a system call that nobody knows is no problem: it may
// come from a newer kernel or another architecture.
func Check(s *specs.LinuxSeccomp) error {
	c := &checker{at: "linux.seccomp"}
	c.action("defaultAction", s.DefaultAction)
	if s.DefaultAction == specs.ActNotify {
		// The runtime itself could then write no more.
		c.add("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
	}
	c.errno("defaultErrnoRet", s.DefaultAction, s.DefaultErrnoRet)
	for i, arch := range s.Architectures {
		if !slices.Contains(seccomp.KnownArchs(), string(arch)) {
			c.add(fmt.Sprintf("architectures[%d]", i), fmt.Sprintf("unknown architecture %q", arch))
		}
	}
	notify := slices.ContainsFunc(s.Syscalls, func(call specs.LinuxSyscall) bool { return call.Action == specs.ActNotify })
	c.flags(s.Flags, notify)
	if notify && s.ListenerPath == "" {
		c.add("listenerPath", "required by SCMP_ACT_NOTIFY")
	}
	if s.ListenerMetadata != "" && s.ListenerPath == "" {
		c.add("listenerMetadata", "must not be set without listenerPath")
	}
	for i := range s.Syscalls {
		c.at = fmt.Sprintf("linux.seccomp.syscalls[%d]", i)
		c.syscall(&s.Syscalls[i])
	}
	if len(c.problems) == 0 {
		return nil
	}
	return c.problems
}

type checker struct {
	at       string
	problems Problems
}

func (c *checker) add(field, text string) {
	c.problems = append(c.problems, Problem{Field: c.at + "." + field, Text: text})
}

func (c *checker) action(field string, action specs.LinuxSeccompAction) {
	if action == "" {
		c.add(field, "required")
	} else if !slices.Contains(seccomp.KnownActions(), string(action)) {
		c.add(field, fmt.Sprintf("unknown action %q", action))
	}
}

// errno checks the number that goes with an action. The kernel caps errnos at
// 4095 (MAX_ERRNO) and hands 16 bits to a tracer.
func (c *checker) errno(field string, action specs.LinuxSeccompAction, errno *uint) {
	if errno == nil {
		return
	}
	switch {
	case action == specs.ActErrno && *errno > 4095:
		c.add(field, fmt.Sprintf("%d is above 4095, the largest errno", *errno))
	case action == specs.ActTrace && *errno > 65535:
		c.add(field, fmt.Sprintf("%d is above 65535, the largest number for a tracer", *errno))
	case action != specs.ActErrno && action != specs.ActTrace:
		c.add(field, fmt.Sprintf("has no meaning for action %q", action))
	}
}

func (c *checker) flags(flags []specs.LinuxSeccompFlag, notify bool) {
	for i, flag := range flags {
		field := fmt.Sprintf("flags[%d]", i)
		if _, known := seccomp.FlagValue(string(flag)); !known {
			c.add(field, fmt.Sprintf("unknown flag %q", flag))
		} else if flag == specs.LinuxSeccompFlagWaitKillableRecv && !notify {
			c.add(field, string(flag)+" needs an action SCMP_ACT_NOTIFY")
		}
	}
}

func (c *checker) syscall(call *specs.LinuxSyscall) {
	if len(call.Names) == 0 {
		c.add("names", "at least one name is required")
	}
	c.action("action", call.Action)
	c.errno("errnoRet", call.Action, call.ErrnoRet)
	if i := slices.Index(call.Names, "write"); i >= 0 && call.Action == specs.ActNotify {
		// The runtime writes after the filter is in force.
		c.add(fmt.Sprintf("names[%d]", i), "SCMP_ACT_NOTIFY cannot be used for the write syscall")
	}
	for i, arg := range call.Args {
		field := fmt.Sprintf("args[%d]", i)
		if arg.Index > 5 {
			c.add(field+".index", fmt.Sprintf("%d is above 5, the last argument", arg.Index))
		}
		if arg.Op == "" {
			c.add(field+".op", "required")
		} else if !slices.Contains(seccomp.KnownOperators(), string(arg.Op)) {
			c.add(field+".op", fmt.Sprintf("unknown operator %q", arg.Op))
		}
	}
}
