package profile

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblems(t *testing.T) {
	const rule = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}, `
	tests := []struct {
		name, profile string
		want          Problems
	}{
		{"no default action", `{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]}`, Problems{{"linux.seccomp.defaultAction", "required"}}},
		{"unknown default action", `{"defaultAction": "ALLOW"}`, Problems{{"linux.seccomp.defaultAction", `unknown action "ALLOW"`}}},
		{"notify as default action", `{"defaultAction": "SCMP_ACT_NOTIFY"}`, Problems{{"linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"}}},
		{"errno for a default that has none", `{"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}`, Problems{{"linux.seccomp.defaultErrnoRet", `has no meaning for action "SCMP_ACT_KILL"`}}},
		{"errno above the largest", `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}`, Problems{{"linux.seccomp.defaultErrnoRet", "4096 is above 4095, the largest errno"}}},
		{"number above a tracer's 16 bits", `{"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}`, Problems{{"linux.seccomp.defaultErrnoRet", "65536 is above 65535, the largest number for a tracer"}}},
		{"unknown architecture", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_VAX"]}`, Problems{{"linux.seccomp.architectures[1]", `unknown architecture "SCMP_ARCH_VAX"`}}},
		{"unknown flag", `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`, Problems{{"linux.seccomp.flags[0]", `unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER"`}}},
		{"wait killable without notify", `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`, Problems{{"linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs an action SCMP_ACT_NOTIFY"}}},
		{"metadata without a listener", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "m"}`, Problems{{"linux.seccomp.listenerMetadata", "must not be set without listenerPath"}}},
		{"notify without a listener", rule + `{"names": ["open"], "action": "SCMP_ACT_NOTIFY"}]}`, Problems{{"linux.seccomp.listenerPath", "required by SCMP_ACT_NOTIFY"}}},
		{"a rule without names", rule + `{"names": [], "action": "SCMP_ACT_LOG"}]}`, Problems{{"linux.seccomp.syscalls[1].names", "at least one name is required"}}},
		{"a rule without an action", rule + `{"names": ["open"]}]}`, Problems{{"linux.seccomp.syscalls[1].action", "required"}}},
		{"unknown action", rule + `{"names": ["open"], "action": "X"}]}`, Problems{{"linux.seccomp.syscalls[1].action", `unknown action "X"`}}},
		{"errno for an action that has none", rule + `{"names": ["open"], "action": "SCMP_ACT_ALLOW", "errnoRet": 3}]}`, Problems{{"linux.seccomp.syscalls[1].errnoRet", `has no meaning for action "SCMP_ACT_ALLOW"`}}},
		{
			"notify on write", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "syscalls": [{"names": ["open", "write"], "action": "SCMP_ACT_NOTIFY"}]}`,
			Problems{{"linux.seccomp.syscalls[0].names[1]", "SCMP_ACT_NOTIFY cannot be used for the write syscall"}},
		},
		{
			"an argument's index and operator", rule + `{"names": ["open"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}, {"index": 0}, {"index": 5, "op": "X"}]}]}`,
			Problems{
				{"linux.seccomp.syscalls[1].args[0].index", "6 is above 5, the last argument"},
				{"linux.seccomp.syscalls[1].args[1].op", "required"},
				{"linux.seccomp.syscalls[1].args[2].op", `unknown operator "X"`},
			},
		},
		{"a listener that nobody asks is ignored, as in runc", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "listenerMetadata": "m"}`, nil},
		{"an unknown system call", rule + `{"names": ["no_such_call"], "action": "SCMP_ACT_LOG"}]}`, nil},
		{"write allowed beside notify", `{"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/l", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_ALLOW"}, {"names": ["open"], "action": "SCMP_ACT_NOTIFY"}]}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Decode([]byte(tt.profile))
			if err != nil {
				t.Fatal(err)
			}
			var got Problems
			if err := Check(s); err != nil && !errors.As(err, &got) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"a wrong type has its path", `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"args": [{"index": "x"}]}]}`, "linux.seccomp.syscalls[0].args[0].index: want a number, got a string"},
		{"a negative errno", `{"defaultErrnoRet": -1}`, "linux.seccomp.defaultErrnoRet: want a number from 0 to 18446744073709551615, got -1"},
		{"not an object", `[]`, "linux.seccomp: want an object, got an array"},
		{"not JSON", `{`, "linux.seccomp: unexpected end of JSON at byte 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Decode([]byte(tt.raw)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestSeveralProblemsAreOneLine(t *testing.T) {
	got := Problems{{"a", "b"}, {"c", "d"}}.Error()
	if got != "a: b; c: d" {
		t.Errorf("got %q", got)
	}
}

func TestEmpty(t *testing.T) {
	for raw, want := range map[string]bool{`{}`: true, `{"defaultAction": ""}`: true, `{"defaultAction": "SCMP_ACT_ALLOW"}`: false, `{"syscalls": [{}]}`: false} {
		s, err := Decode([]byte(raw))
		if err != nil || Empty(s) != want {
			t.Errorf("%s: empty is %v, %v", raw, !want, err)
		}
	}
}
