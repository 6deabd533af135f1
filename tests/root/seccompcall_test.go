package root_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// signals are harmless to who gets them; kill(2) has their number as its second argument.
var signals = []unix.Signal{unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH} // 17, 18, 23, 28

const sendSignals = "for s in 17 18 23 28; do kill -$s $$ 2>/dev/null && echo $s; done; true"

func TestSeccompOperators(t *testing.T) {
	const than = uint64(unix.SIGCONT)
	for op, refused := range map[specs.LinuxSeccompOperator]func(uint64) bool{
		specs.OpEqualTo:      func(s uint64) bool { return s == than },
		specs.OpNotEqual:     func(s uint64) bool { return s != than },
		specs.OpLessThan:     func(s uint64) bool { return s < than },
		specs.OpLessEqual:    func(s uint64) bool { return s <= than },
		specs.OpGreaterThan:  func(s uint64) bool { return s > than },
		specs.OpGreaterEqual: func(s uint64) bool { return s >= than },
		specs.OpMaskedEqual:  func(s uint64) bool { return s&than == 0x10 }, // Value is the mask
	} {
		t.Run(string(op), func(t *testing.T) {
			want := ""
			for _, s := range signals {
				if !refused(uint64(s)) {
					want += fmt.Sprintln(int(s))
				}
			}
			expect(t, sendSignals, want, filter(specs.LinuxSyscall{
				Names: []string{"kill"}, Action: specs.ActErrno,
				Args: []specs.LinuxSeccompArg{{Index: 1, Value: than, ValueTwo: 0x10, Op: op}},
			}))
		})
	}
}

// TestSeccompSeveralArguments: comparisons of different arguments must all hold; of one
// argument, one is enough, as in runc.
func TestSeccompSeveralArguments(t *testing.T) {
	arg := func(index uint, op specs.LinuxSeccompOperator, value uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Op: op, Value: value}
	}
	for name, tc := range map[string]struct {
		args []specs.LinuxSeccompArg
		want string
	}{
		"all hold":       {[]specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 1), arg(1, specs.OpEqualTo, 18)}, "17\n23\n28\n"},
		"one does not":   {[]specs.LinuxSeccompArg{arg(0, specs.OpEqualTo, 2), arg(1, specs.OpEqualTo, 18)}, "17\n18\n23\n28\n"},
		"of one, either": {[]specs.LinuxSeccompArg{arg(1, specs.OpEqualTo, 17), arg(1, specs.OpEqualTo, 28)}, "18\n23\n"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, sendSignals, tc.want, filter(specs.LinuxSyscall{Names: []string{"kill"}, Action: specs.ActErrno, Args: tc.args}))
		})
	}
}

// probe puts the probe for an architecture into a bundle.
func probe(t *testing.T, bundle, arch string) {
	t.Helper()
	putProgram(t, "probe-"+arch, filepath.Join(bundle, "rootfs", "bin", "probe-"+arch), 0o755)
}

func onAMD64(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the system calls have amd64's numbers")
	}
}

// TestSeccompNewSystemCallsAnswerENOSYS: a C library tries a system call that is younger than
// the profile and falls back only if there is none, not if it is forbidden.
func TestSeccompNewSystemCallsAnswerENOSYS(t *testing.T) {
	onAMD64(t)
	e := harness.New(t)
	bundle := e.Bundle("probe-amd64 167 1000", func(s *specs.Spec) { // swapon, which Docker's profile lacks, and one of the future
		dockerProfile(t)(s)
		s.Linux.Seccomp.DefaultErrnoRet = new(uint(unix.ENOSPC))
	})
	probe(t, bundle, "amd64")
	equal(t, "answers", "167: no space left on device\n1000: function not implemented\n", e.MustRun("run", "-b", bundle, e.ID("c")))
}

func TestSeccompArchitectures(t *testing.T) {
	onAMD64(t)
	rule := mkdirRule(specs.ActErrno)
	rule.ErrnoRet = new(uint(unix.ENOSPC))
	const mkdir386, mkdir = "39", "83"
	for name, tc := range map[string]struct {
		archs []specs.Arch
		arch  string
		want  string
	}{
		"the native one needs not be named": {nil, "amd64", mkdir + ": no space left on device\n0\n"},
		"one that is named":                 {[]specs.Arch{specs.ArchX86_64, specs.ArchX86}, "386", mkdir386 + ": no space left on device\n0\n"},
		"one that is not":                   {[]specs.Arch{specs.ArchX86_64}, "386", "159\n"}, // 128 + SIGSYS
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			number := map[string]string{"386": mkdir386, "amd64": mkdir}[tc.arch]
			bundle := e.Bundle(fmt.Sprintf("probe-%s %s; echo $?", tc.arch, number), func(s *specs.Spec) {
				filter(rule)(s)
				s.Linux.Seccomp.Architectures = tc.archs
			})
			probe(t, bundle, tc.arch)
			if tc.arch == "386" && exec.Command(filepath.Join(bundle, "rootfs", "bin", "probe-386")).Run() != nil {
				t.Skip("this kernel runs no 32-bit programs")
			}
			r := e.Run("run", "-b", bundle, e.ID("c"))
			equal(t, "output", tc.want, r.Stdout)
		})
	}
}

// TestSeccompFlags looks at seccomp(2) as the kernel sees it. TSYNC is for programs with threads;
// the kernel refuses it beside a listener, and the runtime's child has none.
func TestSeccompFlags(t *testing.T) {
	harness.NeedRoot(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	const log, spec, tsync, killable = specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlag("SECCOMP_FILTER_FLAG_TSYNC"), specs.LinuxSeccompFlagWaitKillableRecv
	for name, tc := range map[string]struct {
		flags  []specs.LinuxSeccompFlag
		notify bool
		want   string
	}{
		"not said":           {nil, false, "SPEC_ALLOW"},
		"none":               {[]specs.LinuxSeccompFlag{}, false, "0"},
		"LOG":                {[]specs.LinuxSeccompFlag{log}, false, "LOG"},
		"SPEC_ALLOW":         {[]specs.LinuxSeccompFlag{spec}, false, "SPEC_ALLOW"},
		"TSYNC":              {[]specs.LinuxSeccompFlag{tsync}, false, "0"},
		"WAIT_KILLABLE_RECV": {[]specs.LinuxSeccompFlag{killable, log}, true, "LOG|NEW_LISTENER|WAIT_KILLABLE_RECV"},
		"all":                {[]specs.LinuxSeccompFlag{tsync, log, spec, killable}, true, "LOG|SPEC_ALLOW|NEW_LISTENER|WAIT_KILLABLE_RECV"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			rule := mkdirRule(specs.ActErrno)
			socket := filepath.Join(t.TempDir(), "s")
			if tc.notify {
				listener(t, socket, unix.EPERM)
				rule.Action = specs.ActNotify
			}
			bundle := e.Bundle("true", func(s *specs.Spec) {
				filter(rule)(s)
				s.Linux.Seccomp.Flags = tc.flags
				if tc.notify {
					s.Linux.Seccomp.ListenerPath = socket
				}
			})
			if tc.flags != nil && len(tc.flags) == 0 { // the spec's type would leave it out
				file := filepath.Join(bundle, "config.json")
				write(t, file, strings.Replace(read(t, file), `"defaultAction"`, `"flags": [], "defaultAction"`, 1))
			}
			trace := filepath.Join(t.TempDir(), "trace")
			r := e.RunWith(func(c *exec.Cmd) {
				c.Args = append([]string{strace, "-f", "-qq", "-o", trace, "-e", "trace=seccomp", c.Path}, c.Args[1:]...)
				c.Path = strace
			}, "run", "-b", bundle, e.ID("c"))
			if r.Code != 0 {
				t.Fatalf("%+v", r)
			}
			var got []string
			for _, m := range regexp.MustCompile(`SECCOMP_SET_MODE_FILTER, ([^,]*), \{len=`).FindAllStringSubmatch(read(t, trace), -1) {
				got = append(got, strings.ReplaceAll(m[1], "SECCOMP_FILTER_FLAG_", ""))
			}
			equal(t, "flags", []string{tc.want}, slices.DeleteFunc(got, func(s string) bool { return s == "" }))
		})
	}
}
