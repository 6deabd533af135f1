//go:build cgo

package main

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// A libc probes for new system calls and falls back on ENOSYS, not on the
// EPERM or the kill of a profile that was written before the call existed.
// Nobody writes down how old a profile is. As in runc, the largest number
// that it names tells: what lies above was unknown to its authors, and gets
// ENOSYS from a stub in front of libseccomp's program
// (https://github.com/opencontainers/runc/pull/2750).

const (
	// x32Bit is the first number of the x32 ABI, which shares its AUDIT_ARCH
	// with amd64 (__X32_SYSCALL_BIT).
	x32Bit = 0x40000000
	// armPrivate is the first of 32-bit ARM's own calls, far above the
	// common ones (__ARM_NR_BASE).
	armPrivate = 0x0f0000
)

// retENOSYS is the answer for a call that the kernel doesn't have.
const retENOSYS = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// enosysStub is the stub for a profile, or nothing where the default lets
// new calls through, or to somebody who decides for himself.
func enosysStub(s *specs.LinuxSeccomp, archs []libseccomp.ScmpArch) []instruction {
	if slices.Contains([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActLog, specs.ActTrace}, s.DefaultAction) {
		return nil
	}
	if s.DefaultAction == specs.ActErrno && s.DefaultErrnoRet != nil && *s.DefaultErrnoRet == uint(unix.ENOSYS) {
		return nil
	}
	largest := make(map[libseccomp.ScmpArch]uint32)
	for _, arch := range archs {
		if number, ok := largestNumber(s.Syscalls, arch); ok {
			largest[arch] = number
		}
	}
	return stub(archs, largest)
}

// largestNumber is the largest number among the calls that a profile names,
// on one architecture. ok is false where it names none.
func largestNumber(calls []specs.LinuxSyscall, arch libseccomp.ScmpArch) (largest uint32, ok bool) {
	for _, call := range calls {
		for _, name := range call.Names {
			number, err := libseccomp.GetSyscallFromNameByArch(name, arch)
			if err != nil || number < 0 { // libseccomp's own numbers for other architectures' calls
				continue
			}
			if arch == libseccomp.ArchARM && number >= armPrivate {
				continue
			}
			largest, ok = max(largest, uint32(number)), true
		}
	}
	return largest, ok
}

// toEnd is a jump to libseccomp's program, until link knows how far that is.
// With all 23 architectures the stub stays below it.
const toEnd = 255

// stub lays the architectures' blocks one behind the other. The kernel runs
// the program over every system call number when it is installed, so the way
// of a known number is short: four instructions for the first architecture.
// libseccomp's program loads all that it looks at itself.
func stub(archs []libseccomp.ScmpArch, largest map[libseccomp.ScmpArch]uint32) []instruction {
	code := []instruction{{loadWord, 0, 0, dataArch}}
	for _, arch := range archs {
		if _, ok := largest[arch]; !ok {
			continue
		}
		if _, ok := largest[libseccomp.ArchAMD64]; ok && arch == libseccomp.ArchX32 {
			continue // has its place in amd64's block
		}
		body := block(arch, largest)
		code = append(code, instruction{jumpEqual, 0, uint8(len(body)), auditArch(arch)})
		code = append(code, body...)
	}
	if len(code) == 1 {
		return nil
	}
	return link(code)
}

// block answers ENOSYS for a number above an architecture's largest.
func block(arch libseccomp.ScmpArch, largest map[libseccomp.ScmpArch]uint32) []instruction {
	load, enosys := instruction{loadWord, 0, 0, dataNumber}, instruction{ret, 0, 0, retENOSYS}
	above := instruction{jumpGreater, 0, toEnd, largest[arch]}
	switch arch {
	case libseccomp.ArchAMD64:
		if x32, both := largest[libseccomp.ArchX32]; both {
			// Every x32 number is above amd64's largest.
			return []instruction{load, above, {jumpAtLeast, 0, 1, x32Bit}, {jumpGreater, 0, toEnd, x32}, enosys}
		}
		// As in runc, what x32 gets when it isn't asked for is libseccomp's word.
		return []instruction{load, above, {jumpAtLeast, toEnd, 0, x32Bit}, enosys}
	case libseccomp.ArchX32:
		return []instruction{load, {jumpAtLeast, 0, toEnd, x32Bit}, above, enosys}
	case libseccomp.ArchARM:
		return []instruction{load, above, {jumpAtLeast, toEnd, 0, armPrivate}, enosys}
	case libseccomp.ArchS390, libseccomp.ArchS390X:
		// A number that the kernel doesn't know arrives as 0, the long-gone
		// setup(2) (https://github.com/opencontainers/runc/pull/3474).
		return []instruction{load, {jumpEqual, 1, 0, 0}, above, enosys}
	}
	return []instruction{load, above, enosys}
}

func link(code []instruction) []instruction {
	for i := range code {
		rest := uint8(len(code) - i - 1)
		if code[i].jt == toEnd {
			code[i].jt = rest
		}
		if code[i].jf == toEnd {
			code[i].jf = rest
		}
	}
	return code
}

// auditArch is the kernel's name for an architecture (linux/audit.h).
func auditArch(arch libseccomp.ScmpArch) uint32 {
	switch arch {
	case libseccomp.ArchAMD64, libseccomp.ArchX32:
		return unix.AUDIT_ARCH_X86_64
	case libseccomp.ArchX86:
		return unix.AUDIT_ARCH_I386
	case libseccomp.ArchARM:
		return unix.AUDIT_ARCH_ARM
	case libseccomp.ArchARM64:
		return unix.AUDIT_ARCH_AARCH64
	case libseccomp.ArchMIPS:
		return unix.AUDIT_ARCH_MIPS
	case libseccomp.ArchMIPS64:
		return unix.AUDIT_ARCH_MIPS64
	case libseccomp.ArchMIPS64N32:
		return unix.AUDIT_ARCH_MIPS64N32
	case libseccomp.ArchMIPSEL:
		return unix.AUDIT_ARCH_MIPSEL
	case libseccomp.ArchMIPSEL64:
		return unix.AUDIT_ARCH_MIPSEL64
	case libseccomp.ArchMIPSEL64N32:
		return unix.AUDIT_ARCH_MIPSEL64N32
	case libseccomp.ArchPPC:
		return unix.AUDIT_ARCH_PPC
	case libseccomp.ArchPPC64:
		return unix.AUDIT_ARCH_PPC64
	case libseccomp.ArchPPC64LE:
		return unix.AUDIT_ARCH_PPC64LE
	case libseccomp.ArchS390:
		return unix.AUDIT_ARCH_S390
	case libseccomp.ArchS390X:
		return unix.AUDIT_ARCH_S390X
	case libseccomp.ArchPARISC:
		return unix.AUDIT_ARCH_PARISC
	case libseccomp.ArchPARISC64:
		return unix.AUDIT_ARCH_PARISC64
	case libseccomp.ArchRISCV64:
		return unix.AUDIT_ARCH_RISCV64
	case libseccomp.ArchLOONGARCH64:
		return unix.AUDIT_ARCH_LOONGARCH64
	case libseccomp.ArchM68K:
		return unix.AUDIT_ARCH_M68K
	case libseccomp.ArchSH:
		return unix.AUDIT_ARCH_SHEL
	case libseccomp.ArchSHEB:
		return unix.AUDIT_ARCH_SH
	}
	return 0 // no call carries it
}
