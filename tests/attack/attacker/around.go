package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe" //nolint:depguard // the one way to hand a filter to seccomp(2)

	"golang.org/x/sys/unix"
)

// refusePrctl loads a filter that answers prctl(PR_SET_MM) with EPERM, as a kernel without
// CONFIG_CHECKPOINT_RESTORE does.
func refusePrctl() error {
	const numberAt, firstArgAt = 0, 16
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: numberAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_PRCTL},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: firstArgAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.PR_SET_MM},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// forbidMemfds sets vm.memfd_noexec, which belongs to the pid namespace that this process
// was started in, of which it is the first.
func forbidMemfds() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("pid %d: not in a pid namespace of its own", os.Getpid())
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0)
}

// freshProcfs mounts procfs, outside: as root of a new user namespace.
func freshProcfs(side string) error {
	if side == "inside" {
		return unix.Mount("proc", "/tmp", "proc", 0, "")
	}
	cmd := exec.Command("/proc/self/exe", "procfs", "inside")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd.Run()
}
