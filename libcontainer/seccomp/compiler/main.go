//go:build cgo

// Command compiler turns the JSON text of linux.seccomp on standard input
// into a seccomp.Filter frame on standard output. It is the one program of
// the runtime that links libseccomp. Faults in the profile are lines on
// standard error and exit status 1.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/seccomp"
	"github.com/gantry-containers/gantry/libcontainer/seccomp/profile"
)

// cpuLimit ends a compilation that has used so many seconds of CPU time:
// libseccomp 2.5.4 runs for ever over some overlapping rules.
const cpuLimit = 10

func main() {
	debug.SetGCPercent(-1) // ends before it could pay off
	// Go ignores the soft limit's SIGXCPU; the hard limit kills.
	_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: cpuLimit, Max: cpuLimit})
	out, err := answer(os.Args[1:], os.Stdin)
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		report(err)
		os.Exit(1)
	}
}

// report writes the problems of a profile, each with its field, or what else went wrong.
func report(err error) {
	var lines []seccomp.Problem
	var problems profile.Problems
	var at *fault.Error
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			lines = append(lines, seccomp.Problem(p))
		}
	case errors.As(err, &at):
		lines = []seccomp.Problem{{Field: at.Field, Text: at.Err.Error()}}
	default:
		lines = []seccomp.Problem{{Text: err.Error()}}
	}
	_, _ = os.Stderr.Write(seccomp.AppendProblems(nil, lines)) // the status says enough
}

func answer(args []string, stdin io.Reader) ([]byte, error) {
	if len(args) == 1 && args[0] == "--version" {
		major, minor, micro := libseccomp.GetLibraryVersion()
		return fmt.Appendf(nil, "%d.%d.%d", major, minor, micro), nil
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("unknown argument %q", args[0])
	}
	raw, err := io.ReadAll(stdin)
	if err != nil {
		return nil, err
	}
	f, err := compile(raw)
	if err != nil {
		return nil, err
	}
	return f.AppendFrame(nil), nil
}

func compile(raw []byte) (*seccomp.Filter, error) {
	s, err := profile.Decode(raw)
	if err != nil {
		return nil, err
	}
	if profile.Empty(s) {
		return &seccomp.Filter{}, nil
	}
	if err := profile.Check(s); err != nil {
		return nil, err
	}
	f := &seccomp.Filter{ListenerPath: s.ListenerPath, ListenerMetadata: s.ListenerMetadata}
	for _, call := range s.Syscalls {
		f.Notify = f.Notify || call.Action == specs.ActNotify
	}
	if f.Flags, err = flags(s.Flags); err != nil {
		return nil, err
	}
	f.Instructions, err = program(s)
	return f, err
}

// flags is the bits for seccomp(2). Where the profile has no list, the default
// is runc's: SPEC_ALLOW. TSYNC adds nothing, for the caller has one thread,
// and the kernel refuses it beside NEW_LISTENER.
func flags(names []specs.LinuxSeccompFlag) (uint, error) {
	if names == nil {
		names = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}
	}
	supported := seccomp.SupportedFlags()
	var bits uint
	for i, name := range names {
		bit, _ := seccomp.FlagValue(string(name))
		if !slices.Contains(supported, string(name)) {
			return 0, fault.Atf(fmt.Sprintf("linux.seccomp.flags[%d]", i), "this kernel has no %s", name)
		}
		bits |= bit
	}
	return bits &^ unix.SECCOMP_FILTER_FLAG_TSYNC, nil
}
