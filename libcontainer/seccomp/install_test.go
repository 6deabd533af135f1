package seccomp

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// installChild reads a frame, drops root if told to, installs the filter on
// its thread and prints how the kernel then answers some calls.
func installChild() {
	runtime.LockOSThread()
	check := func(what string, errno unix.Errno) {
		if errno != 0 {
			fmt.Println(what, errno)
			os.Exit(3)
		}
	}
	frame, err := io.ReadAll(os.Stdin)
	f := parseFrame(frame)
	if err != nil || f == nil {
		check("frame", unix.EINVAL)
	}
	if os.Getenv("DROP") != "" {
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534)
		check("setresuid", errno)
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	check("no_new_privs", errno)
	program := unix.SockFprog{Len: uint16(len(f.Instructions) / instructionSize), Filter: (*unix.SockFilter)(unsafe.Pointer(&f.Instructions[0]))}
	flags := f.Flags
	if f.Notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&program)))
	check("seccomp", errno)
	var out []byte
	for _, call := range [][4]uintptr{
		{unix.SYS_GETPID}, {unix.SYS_UNSHARE, 0}, {unix.SYS_CLONE3, 0, 0}, {unix.SYS_PERSONALITY, 0xffffffff}, {unix.SYS_PERSONALITY, 7}, {1000},
	} {
		_, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3])
		out = fmt.Appendf(out, "%d(%#x)=%d ", call[0], call[1], errno)
	}
	fmt.Printf("%slistener=%v", out, fd > 0)
	os.Exit(0)
}

func TestTheKernelTakesTheFilter(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the profile and the numbers are amd64's")
	}
	needCompiler(t)
	docker, err := os.ReadFile("../../tests/bench/testdata/seccomp-docker.json")
	if err != nil {
		t.Fatal(err)
	}
	const notify = `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
		"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]}`
	const dockerAnswers = "39(0x0)=0 272(0x0)=1 435(0x0)=38 135(0xffffffff)=0 135(0x7)=1 1000(0x0)=38 listener=false"
	const notifyAnswers = "39(0x0)=0 272(0x0)=99 435(0x0)=22 135(0xffffffff)=0 135(0x7)=0 1000(0x0)=38 listener=true"
	tests := []struct{ name, raw, drop, want string }{
		{"Docker's profile, as the caller", string(docker), "", dockerAnswers},
		{"a profile with notify, as the caller", notify, "", notifyAnswers},
		{"Docker's profile, without root", string(docker), "1", dockerAnswers},
		{"a profile with notify, without root", notify, "1", notifyAnswers},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.drop != "" && os.Geteuid() != 0 {
				t.Skip("dropping root needs root")
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childEnv+"=install", "DROP="+tt.drop)
			cmd.Stdin = bytes.NewReader(mustLoad(t, tt.raw, "").AppendFrame(nil))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != tt.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, out, tt.want)
			}
		})
	}
}

func TestThisKernelsFlags(t *testing.T) {
	// Each came with a kernel below the floor but the last (5.19).
	got := SupportedFlags()
	if len(got) < 3 || cmp.Diff(KnownFlags()[:len(got)], got) != "" {
		t.Errorf("got %v of %v", got, KnownFlags())
	}
	for _, flag := range KnownFlags() {
		if _, known := FlagValue(flag); !known || !strings.HasPrefix(flag, "SECCOMP_FILTER_FLAG_") {
			t.Errorf("%s has no value", flag)
		}
	}
	if _, known := FlagValue("SECCOMP_FILTER_FLAG_NEW_LISTENER"); known {
		t.Error("a profile may not name NEW_LISTENER")
	}
}
