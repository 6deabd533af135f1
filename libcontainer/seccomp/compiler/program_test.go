//go:build cgo

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const (
	allow = unix.SECCOMP_RET_ALLOW
	eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
)

func instructions(t testing.TB, json string) []byte {
	t.Helper()
	f, err := compile([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return f.Instructions
}

func number(t testing.TB, name string, arch libseccomp.ScmpArch) uint32 {
	t.Helper()
	n, err := libseccomp.GetSyscallFromNameByArch(name, arch)
	if err != nil || n < 0 {
		t.Fatalf("%s has no number on %s: %v", name, arch, err)
	}
	return uint32(n)
}

func dockerProfile(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("../../../tests/bench/testdata/seccomp-docker.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestActions(t *testing.T) {
	tests := []struct {
		name, action string
		want         uint32
	}{
		{"allow lets a call through", `"SCMP_ACT_ALLOW"`, allow},
		{"kill is the thread's end", `"SCMP_ACT_KILL"`, unix.SECCOMP_RET_KILL_THREAD},
		{"kill thread is the thread's end", `"SCMP_ACT_KILL_THREAD"`, unix.SECCOMP_RET_KILL_THREAD},
		{"kill process is the process's end", `"SCMP_ACT_KILL_PROCESS"`, unix.SECCOMP_RET_KILL_PROCESS},
		{"trap sends SIGSYS", `"SCMP_ACT_TRAP"`, unix.SECCOMP_RET_TRAP},
		{"errno without a number is EPERM", `"SCMP_ACT_ERRNO"`, eperm},
		{"errno with a number answers it", `"SCMP_ACT_ERRNO", "errnoRet": 55`, unix.SECCOMP_RET_ERRNO | 55},
		{"errno 0 is a feigned success", `"SCMP_ACT_ERRNO", "errnoRet": 0`, unix.SECCOMP_RET_ERRNO},
		{"trace without a number hands EPERM to the tracer", `"SCMP_ACT_TRACE"`, unix.SECCOMP_RET_TRACE | 1},
		{"trace hands a 16-bit number to the tracer", `"SCMP_ACT_TRACE", "errnoRet": 65535`, unix.SECCOMP_RET_TRACE | 65535},
		{"log lets a call through and logs it", `"SCMP_ACT_LOG"`, unix.SECCOMP_RET_LOG},
		{"notify asks the listener", `"SCMP_ACT_NOTIFY"`, unix.SECCOMP_RET_USER_NOTIF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := instructions(t, `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 77, "listenerPath": "/l",
				"syscalls": [{"names": ["mkdir"], "action": `+tt.action+`}]}`)
			if got := run(t, code, call{arch: unix.AUDIT_ARCH_X86_64, number: unix.SYS_MKDIR}); got != tt.want {
				t.Errorf("mkdir answers %#x, want %#x", got, tt.want)
			}
			if got, want := run(t, code, call{arch: unix.AUDIT_ARCH_X86_64, number: unix.SYS_READ}), uint32(unix.SECCOMP_RET_ERRNO|77); got != want {
				t.Errorf("read answers %#x, want the default, %#x", got, want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	const big = 0x1_0000_0005 // differs from 5 in the upper half only
	tests := []struct {
		name, args string
		allowed    [][6]uint64
		refused    [][6]uint64
	}{
		{"equal looks at all 64 bits", `{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}`, [][6]uint64{{5}}, [][6]uint64{{4}, {big}}},
		{"not equal", `{"index": 1, "value": 5, "op": "SCMP_CMP_NE"}`, [][6]uint64{{0, 4}, {0, big}}, [][6]uint64{{0, 5}}},
		{"less", `{"index": 2, "value": 5, "op": "SCMP_CMP_LT"}`, [][6]uint64{{0, 0, 4}}, [][6]uint64{{0, 0, 5}, {0, 0, big}}},
		{"less or equal", `{"index": 3, "value": 5, "op": "SCMP_CMP_LE"}`, [][6]uint64{{0, 0, 0, 5}}, [][6]uint64{{0, 0, 0, 6}, {0, 0, 0, big}}},
		{"greater", `{"index": 4, "value": 5, "op": "SCMP_CMP_GT"}`, [][6]uint64{{0, 0, 0, 0, 6}, {0, 0, 0, 0, big}}, [][6]uint64{{0, 0, 0, 0, 5}}},
		{"greater or equal", `{"index": 5, "value": 5, "op": "SCMP_CMP_GE"}`, [][6]uint64{{0, 0, 0, 0, 0, 5}, {0, 0, 0, 0, 0, big}}, [][6]uint64{{0, 0, 0, 0, 0, 4}}},
		{
			"masked equal takes value for the mask and valueTwo for what must remain",
			`{"index": 0, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}`,
			[][6]uint64{{0x10}, {0x1f}},
			[][6]uint64{{0x20}, {0x30}, {0}},
		},
		{
			"comparisons of different arguments must all hold",
			`{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}`,
			[][6]uint64{{1, 2}},
			[][6]uint64{{1, 3}, {0, 2}},
		},
		{
			"comparisons of one argument are alternatives",
			`{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}`,
			[][6]uint64{{1}, {2}},
			[][6]uint64{{3}},
		},
		{
			"one argument twice makes alternatives of the others too",
			`{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}`,
			[][6]uint64{{1}, {2}, {7, 9}},
			[][6]uint64{{3, 8}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := instructions(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
				{"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "args": [`+tt.args+`]}]}`)
			for _, args := range tt.allowed {
				if got := run(t, code, call{unix.AUDIT_ARCH_X86_64, unix.SYS_KCMP, args}); got != allow {
					t.Errorf("kcmp%v answers %#x, want it allowed", args, got)
				}
			}
			for _, args := range tt.refused {
				if got := run(t, code, call{unix.AUDIT_ARCH_X86_64, unix.SYS_KCMP, args}); got != eperm {
					t.Errorf("kcmp%v answers %#x, want EPERM", args, got)
				}
			}
		})
	}
}

func TestRules(t *testing.T) {
	t.Run("a name that nobody knows is ignored", func(t *testing.T) {
		code := instructions(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ALLOW"}]}`)
		if got := run(t, code, call{arch: unix.AUDIT_ARCH_X86_64, number: unix.SYS_MKDIR}); got != allow {
			t.Errorf("mkdir answers %#x", got)
		}
	})
	t.Run("a rule that repeats the default is no fault", func(t *testing.T) {
		code := instructions(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}`)
		if got := run(t, code, call{arch: unix.AUDIT_ARCH_X86_64, number: unix.SYS_MKDIR}); got != eperm {
			t.Errorf("mkdir answers %#x", got)
		}
	})
	t.Run("the native architecture is there though the profile names another", func(t *testing.T) {
		code := instructions(t, `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}`)
		for arch, n := range map[uint32]uint32{
			unix.AUDIT_ARCH_X86_64: unix.SYS_MKDIR,
			unix.AUDIT_ARCH_I386:   number(t, "mkdir", libseccomp.ArchX86),
		} {
			if got := run(t, code, call{arch: arch, number: n}); got != eperm {
				t.Errorf("mkdir of %#x answers %#x, want EPERM", arch, got)
			}
		}
	})
	t.Run("an architecture outside the profile is killed", func(t *testing.T) {
		code := instructions(t, `{"defaultAction": "SCMP_ACT_ALLOW"}`)
		if got := run(t, code, call{arch: unix.AUDIT_ARCH_I386, number: 1}); got != unix.SECCOMP_RET_KILL_THREAD {
			t.Errorf("i386 answers %#x", got)
		}
	})
	t.Run("of two actions for one call the first holds", func(t *testing.T) {
		code := instructions(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
			{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"}, {"names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}`)
		if got := run(t, code, call{arch: unix.AUDIT_ARCH_X86_64, number: unix.SYS_MKDIR}); got != allow {
			t.Errorf("mkdir answers %#x", got)
		}
	})
	t.Run("an architecture of the other byte order is refused with its path", func(t *testing.T) {
		_, err := compile([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_S390X"]}`))
		if err == nil || !strings.HasPrefix(err.Error(), "linux.seccomp.architectures[1]: SCMP_ARCH_S390X: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a program above the kernel's limit is refused", func(t *testing.T) {
		var rules []string
		for i := range 1500 {
			rules = append(rules, fmt.Sprintf(`{"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": %d}]}`, i<<32|i))
		}
		_, err := compile([]byte(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [` + strings.Join(rules, ",") + `]}`))
		if err == nil || !strings.Contains(err.Error(), "above the kernel's 4096") {
			t.Errorf("got %v", err)
		}
	})
}
