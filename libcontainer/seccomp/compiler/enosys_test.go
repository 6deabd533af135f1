//go:build cgo

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/seccomp/profile"
)

func TestNewSystemCallsAnswerENOSYS(t *testing.T) {
	// openat2 is 437 on all of these, and the largest number named.
	const rules = `"syscalls": [{"names": ["openat2", "mkdirat", "cacheflush"], "action": "SCMP_ACT_ALLOW"}]`
	const all = `"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"], `
	const errno = `{"defaultAction": "SCMP_ACT_ERRNO", `
	const log = unix.SECCOMP_RET_LOG
	tests := []struct {
		name, profile string
		arch, number  uint32
		want          uint32
	}{
		{"the largest named number is allowed", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, 437, allow},
		{"a number above it was unknown", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, retENOSYS},
		{"a far number was unknown", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, 1000, retENOSYS},
		{"a number below it was left out with intent", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, 436, eperm},
		{"x86 has its own limit", errno + all + rules + `}`, unix.AUDIT_ARCH_I386, 438, retENOSYS},
		{"x86 keeps its default below", errno + all + rules + `}`, unix.AUDIT_ARCH_I386, 436, eperm},
		{"x86 keeps its rule", errno + all + rules + `}`, unix.AUDIT_ARCH_I386, 437, allow},
		{"x32's largest number is allowed", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, x32Bit + 437, allow},
		{"x32 has its limit beside amd64's", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, x32Bit + 438, retENOSYS},
		{"x32 keeps its default below", errno + all + rules + `}`, unix.AUDIT_ARCH_X86_64, x32Bit + 436, eperm},
		{"x32 outside the profile is killed, as in runc", errno + rules + `}`, unix.AUDIT_ARCH_X86_64, x32Bit + 1, unix.SECCOMP_RET_KILL_THREAD},
		{"arm64 has its own limit", errno + all + rules + `}`, unix.AUDIT_ARCH_AARCH64, 438, retENOSYS},
		{"arm's private calls do not lift its limit", errno + all + rules + `}`, unix.AUDIT_ARCH_ARM, 438, retENOSYS},
		{"arm's private calls stay above its limit", errno + all + rules + `}`, unix.AUDIT_ARCH_ARM, armPrivate + 2, allow},
		{"an unnamed private call of arm keeps the default", errno + all + rules + `}`, unix.AUDIT_ARCH_ARM, armPrivate + 1, eperm},
		{"a foreign architecture is still killed", errno + rules + `}`, unix.AUDIT_ARCH_I386, 438, unix.SECCOMP_RET_KILL_THREAD},
		{"a profile that kills has the stub", `{"defaultAction": "SCMP_ACT_KILL_PROCESS", ` + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, retENOSYS},
		{"a profile that traps has the stub", `{"defaultAction": "SCMP_ACT_TRAP", ` + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, retENOSYS},
		{"a profile that allows has none", `{"defaultAction": "SCMP_ACT_ALLOW", ` + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, allow},
		{"a profile that logs has none", `{"defaultAction": "SCMP_ACT_LOG", ` + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, log},
		{"a profile that asks a tracer has none", `{"defaultAction": "SCMP_ACT_TRACE", ` + rules + `}`, unix.AUDIT_ARCH_X86_64, 438, unix.SECCOMP_RET_TRACE | 1},
		{"a profile that names no call sets no limit", errno + `"syscalls": []}`, unix.AUDIT_ARCH_X86_64, 438, eperm},
		{
			"the number of a denied call counts too", errno + `"defaultErrnoRet": 5, "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_KILL"}]}`,
			unix.AUDIT_ARCH_X86_64, 436, unix.SECCOMP_RET_ERRNO | 5,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, instructions(t, tt.profile), call{arch: tt.arch, number: tt.number})
			if got != tt.want {
				t.Errorf("%d of %#x answers %#x, want %#x", tt.number, tt.arch, got, tt.want)
			}
		})
	}
}

func TestAProfileThatAnswersENOSYSItselfHasNoStub(t *testing.T) {
	for json, want := range map[string]bool{
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]}`: false,
		`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 39, "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]}`: true,
	} {
		s, err := profile.Decode([]byte(json))
		if err != nil {
			t.Fatal(err)
		}
		if got := enosysStub(s, []libseccomp.ScmpArch{libseccomp.ArchAMD64}); (len(got) > 0) != want {
			t.Errorf("%s has a stub of %d instructions", json, len(got))
		}
	}
}

func TestStub(t *testing.T) {
	x, y, s, a := libseccomp.ArchX32, libseccomp.ArchAMD64, libseccomp.ArchS390X, libseccomp.ArchX86
	tests := []struct {
		name    string
		archs   []libseccomp.ScmpArch
		largest map[libseccomp.ScmpArch]uint32
		call    call
		end     bool // falls through to the profile
	}{
		{"x32 alone leaves amd64's calls alone", []libseccomp.ScmpArch{x}, map[libseccomp.ScmpArch]uint32{x: x32Bit + 5}, call{arch: unix.AUDIT_ARCH_X86_64, number: 9}, true},
		{"x32 alone has a limit", []libseccomp.ScmpArch{x}, map[libseccomp.ScmpArch]uint32{x: x32Bit + 5}, call{arch: unix.AUDIT_ARCH_X86_64, number: x32Bit + 6}, false},
		{"x32 first in the list is still found", []libseccomp.ScmpArch{x, y}, map[libseccomp.ScmpArch]uint32{x: x32Bit + 5, y: 9}, call{arch: unix.AUDIT_ARCH_X86_64, number: x32Bit + 5}, true},
		{"x32 first in the list keeps amd64's limit", []libseccomp.ScmpArch{x, y}, map[libseccomp.ScmpArch]uint32{x: x32Bit + 5, y: 9}, call{arch: unix.AUDIT_ARCH_X86_64, number: 10}, false},
		{"an architecture without a limit is passed over", []libseccomp.ScmpArch{a, y}, map[libseccomp.ScmpArch]uint32{y: 9}, call{arch: unix.AUDIT_ARCH_I386, number: 10}, true},
		{"s390x answers for the unknown numbers that arrive as 0", []libseccomp.ScmpArch{s}, map[libseccomp.ScmpArch]uint32{s: 9}, call{arch: unix.AUDIT_ARCH_S390X, number: 0}, false},
		{"s390x has a limit", []libseccomp.ScmpArch{s}, map[libseccomp.ScmpArch]uint32{s: 9}, call{arch: unix.AUDIT_ARCH_S390X, number: 10}, false},
		{"s390x keeps what lies below", []libseccomp.ScmpArch{s}, map[libseccomp.ScmpArch]uint32{s: 9}, call{arch: unix.AUDIT_ARCH_S390X, number: 9}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const marker = 0x1234
			code := encode(append(stub(tt.archs, tt.largest), instruction{ret, 0, 0, marker}))
			want := uint32(marker)
			if !tt.end {
				want = retENOSYS
			}
			if got := run(t, code, tt.call); got != want {
				t.Errorf("%+v answers %#x, want %#x", tt.call, got, want)
			}
		})
	}
}

func TestJumpsOfAStubForEveryArchitectureFit(t *testing.T) {
	var archs []libseccomp.ScmpArch
	largest := make(map[libseccomp.ScmpArch]uint32)
	seen := make(map[uint32]libseccomp.ScmpArch)
	for arch := libseccomp.ArchNative + 1; arch <= libseccomp.ArchSHEB; arch++ {
		archs = append(archs, arch)
		largest[arch] = 100
		audit := auditArch(arch)
		if audit == 0 {
			t.Errorf("%s has no AUDIT_ARCH", arch)
		}
		if twin, twice := seen[audit]; twice && cmp.Diff([]libseccomp.ScmpArch{twin, arch}, []libseccomp.ScmpArch{libseccomp.ArchAMD64, libseccomp.ArchX32}) != "" {
			t.Errorf("%s and %s share AUDIT_ARCH %#x", twin, arch, audit)
		}
		seen[audit] = arch
	}
	if n := len(stub(archs, largest)); len(archs) < 22 || n > toEnd {
		t.Errorf("%d architectures make %d instructions, want at most %d", len(archs), n, toEnd)
	}
}
