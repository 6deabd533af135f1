//go:build cgo

package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/seccomp"
)

func TestFlags(t *testing.T) {
	const notify = `"listenerPath": "/l", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}], `
	tests := []struct {
		name, fields string
		want         uint
	}{
		{"no list means SPEC_ALLOW", ``, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"an empty list means none", `"flags": [], `, 0},
		{"log and spec allow", `"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], `, 6},
		{"tsync has no effect on one thread", `"flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"], `, 2},
		{"wait killable goes with notify", notify + `"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], `, 32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := compile([]byte(`{` + tt.fields + `"defaultAction": "SCMP_ACT_ALLOW"}`))
			if err != nil || f.Flags != tt.want {
				t.Errorf("got %+v, %v, want flags %#x", f, err, tt.want)
			}
		})
	}
}

func TestCompile(t *testing.T) {
	t.Run("the listener's fields and the need for it are in the answer", func(t *testing.T) {
		f, err := compile([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "listenerMetadata": "m",
			"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		f.Instructions = nil
		if diff := cmp.Diff(&seccomp.Filter{Flags: 4, Notify: true, ListenerPath: "/l", ListenerMetadata: "m"}, f); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a profile that says nothing is no filter", func(t *testing.T) {
		f, err := compile([]byte(`{}`))
		if err != nil || len(f.Instructions) != 0 {
			t.Errorf("got %+v, %v", f, err)
		}
	})
	t.Run("a faulty profile is refused before libseccomp sees it", func(t *testing.T) {
		_, err := compile([]byte(`{"defaultAction": "SCMP_ACT_SING"}`))
		if err == nil || err.Error() != `linux.seccomp.defaultAction: unknown action "SCMP_ACT_SING"` {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnswer(t *testing.T) {
	out, err := answer([]string{"--version"}, nil)
	if err != nil || !regexp.MustCompile(`^2\.\d+\.\d+$`).Match(out) {
		t.Errorf("--version: got %q, %v", out, err)
	}
	if _, err := answer([]string{"--what"}, nil); err == nil {
		t.Error("an unknown argument is taken")
	}
	f, err := compile([]byte(dockerProfile(t)))
	if err != nil {
		t.Fatal(err)
	}
	out, err = answer(nil, strings.NewReader(dockerProfile(t)))
	if err != nil || !cmp.Equal(out, f.AppendFrame(nil)) {
		t.Errorf("the answer for Docker's profile is not its frame: %v", err)
	}
}

func TestEveryKnownArchitectureIsOneOfTheLibrarys(t *testing.T) {
	for _, name := range seccomp.KnownArchs() {
		if _, err := libseccomp.GetArchFromString(strings.TrimPrefix(name, "SCMP_ARCH_")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
