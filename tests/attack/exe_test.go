package attack

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// The runtime's own binary: CVE-2019-5736 and its relatives, attacks A1 to A9 of
// docs/security.md, and with them CVE-2016-9962.

// dockers are the capabilities that Docker gives by default.
var dockers = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

func withCaps(s *specs.Spec, extra ...string) {
	all := append(append([]string(nil), dockers...), extra...)
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	s.Process.NoNewPrivileges = false
}

// seconds is how long a poller watches; the attacks on it must be over by then.
var seconds = harness.Slow(1600 * time.Millisecond).Seconds()

// hostile makes a bundle that runs the poller and holds the programs of the attacks.
func hostile(t *testing.T, e *harness.Env, change func(*specs.Spec)) string {
	t.Helper()
	bundle := e.Bundle("", func(s *specs.Spec) {
		s.Process.Args = []string{"/bin/attacker", "poll", fmt.Sprint(seconds), "/report"}
		change(s)
	})
	install(t, bundle)
	rootfs := filepath.Join(bundle, "rootfs")
	write(t, filepath.Join(rootfs, "target"), "")
	write(t, filepath.Join(rootfs, "a1"), "#!/proc/self/exe --log=/fifo\n")
	link(t, "/proc/self/exe", filepath.Join(rootfs, "a2"))
	write(t, filepath.Join(rootfs, "a3"), "#!/a1\n")
	write(t, filepath.Join(rootfs, "a9"), string(interpretedBy("/proc/self/exe")))
	if err := unix.Mkfifo(filepath.Join(rootfs, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	return bundle
}

// interpretedBy is a smallest ELF program with an interpreter.
func interpretedBy(interpreter string) []byte {
	const headerSize, segmentSize = 64, 56
	machine := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV}
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	name := append([]byte(interpreter), 0)
	end := uint64(headerSize + 2*segmentSize + len(name))
	var b []byte
	put := func(values ...any) {
		for _, v := range values {
			b, _ = binary.Append(b, binary.LittleEndian, v)
		}
	}
	put([]byte("\x7fELF\x02\x01\x01\x00"), uint64(0), uint16(elf.ET_EXEC), uint16(machine[unix.ByteSliceToString(uts.Machine[:])]), uint32(1),
		uint64(0x400000), uint64(headerSize), uint64(0), uint32(0), uint16(headerSize), uint16(segmentSize), uint16(2), uint16(0), uint16(0), uint16(0))
	put(uint32(elf.PT_INTERP), uint32(elf.PF_R), uint64(headerSize+2*segmentSize), uint64(0), uint64(0), uint64(len(name)), uint64(len(name)), uint64(1))
	put(uint32(elf.PT_LOAD), uint32(elf.PF_R|elf.PF_X), uint64(0), uint64(0x400000), uint64(0x400000), end, end, uint64(0x1000))
	return append(b, name...)
}

// report waits for the poller to end and returns what it found.
func report(t *testing.T, bundle string) string {
	t.Helper()
	file := filepath.Join(bundle, "rootfs/report")
	var b []byte
	if !harness.Until(20*time.Second, func() bool {
		b, _ = os.ReadFile(file) // not there yet
		return strings.HasSuffix(string(b), "done\n")
	}) {
		t.Fatal("the poller has not reported")
	}
	return string(b)
}

func identity(t *testing.T, file string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// programs are the entry points A1, A2, A3 and A9, and what the kernel says to each.
var programs = map[string]string{"/a1": "exec format error", "/a2": "exec format error", "/a3": "exec format error", "/a9": "corrupted shared library"}

func TestCVE_2019_5736_EntryPointIsTheRuntime(t *testing.T) {
	for program, answer := range programs {
		t.Run(program[1:]+" by run", func(t *testing.T) {
			e := harness.New(t)
			guardBinary(t)
			bundle := hostile(t, e, func(s *specs.Spec) { withCaps(s); s.Process.Args = []string{program} })
			if err := os.Remove(filepath.Join(bundle, "rootfs/fifo")); err != nil { // nobody would read it
				t.Fatal(err)
			}
			refused(t, e, bundle, answer)
		})
	}
}

// A1 to A3 and A5 to A9, with a second process that watches: a process of exec is held in
// its last moment before execve, by a seccomp filter whose agent takes its time.
func TestCVE_2019_5736_ExecIsWatched(t *testing.T) {
	for name, caps := range map[string][]string{
		"with Docker's capabilities": nil,
		"with CAP_SYS_PTRACE":        {"CAP_SYS_PTRACE"},
		"with CAP_SYS_ADMIN":         {"CAP_SYS_ADMIN"},
		"with both":                  {"CAP_SYS_PTRACE", "CAP_SYS_ADMIN"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			guardBinary(t)
			agent := holdSecond(t, time.Second/2)
			bundle := hostile(t, e, func(s *specs.Spec) { withCaps(s, caps...); s.Linux.Seccomp = notifyExec(agent) })
			id := e.ID("watcher")
			e.MustRun("run", "--detach", "--bundle", bundle, id)
			if r := e.RunWith(leak(t, "/"), "exec", id, "true"); r.Code != 0 {
				t.Fatalf("exit %d: %s", r.Code, r.Stderr)
			}
			for program, answer := range programs {
				r := e.Run("exec", id, program)
				if program == "/a2" {
					answer = "no such file" // /proc/self is nobody while the pid namespace is still the runtime's
				}
				if r.Code != 255 || !strings.Contains(r.Stderr, answer) {
					t.Errorf("%s: exit %d, stderr %q, want %q", program, r.Code, r.Stderr, answer)
				}
			}
			// CVE-2016-9962: nor the host's root, by a descriptor, a root or a working directory.
			checkReport(t, report(t, bundle), caps != nil && caps[0] == "CAP_SYS_PTRACE", "/")
		})
	}
}

// The same for run: the container joins the pid namespace of the watcher and waits for start.
// That a tracer meets the host's root there is not prevented: docs/security.md.
func TestCVE_2019_5736_CreateIsWatched(t *testing.T) {
	for name, caps := range map[string][]string{"with Docker's capabilities": nil, "with CAP_SYS_PTRACE": {"CAP_SYS_PTRACE"}} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			guardBinary(t)
			bundle := hostile(t, e, func(s *specs.Spec) { withCaps(s, caps...) })
			watcher, waiting := e.ID("watcher"), e.ID("waiting")
			e.MustRun("run", "--detach", "--bundle", bundle, watcher)
			pid := e.State(watcher).Pid
			other := e.Bundle("true", func(s *specs.Spec) {
				withCaps(s)
				s.Linux.Namespaces[0] = specs.LinuxNamespace{Type: "pid", Path: fmt.Sprintf("/proc/%d/ns/pid", pid)}
			})
			e.MustRun("create", "--bundle", other, waiting)
			checkReport(t, report(t, bundle), caps != nil)
		})
	}
}

// checkReport wants that the poller met neither the runtime's file nor the others named
// through the processes that joined it. tracer says that it may see their links.
func checkReport(t *testing.T, report string, tracer bool, others ...string) {
	t.Helper()
	for _, file := range append(others, harness.Runtime(t)) {
		if strings.Contains(report, " "+identity(t, file)+" ") {
			t.Errorf("%s of the host was reached:\n%s", file, report)
		}
	}
	if wrote(report) {
		t.Errorf("a program was written to:\n%s", report)
	}
	if got := strings.Contains(report, "gantry-init"); got != tracer {
		t.Errorf("the joining process was seen: %v, want %v\n%s", got, tracer, report)
	}
}

// wrote says whether a file was written to. The memory that a joining process shares with the
// runtime is none: who may trace the process may write there anyway, and the runtime does
// not trust it.
func wrote(report string) bool {
	return strings.Count(report, "wrote ") > strings.Count(report, "wrote /dev/zero (deleted)")
}

// A4 needs a program interpreter that the container could provide.
func TestCVE_2019_5736_TheRuntimeLoadsNothing(t *testing.T) {
	harness.NeedRoot(t)
	f, err := elf.Open(harness.Runtime(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the runtime has a %v: it would load files of the container when run in there", p.Type)
		}
	}
}

// A process before execve leads to nothing of the host.
func TestCVE_2019_5736_AWaitingProcessLeadsNowhere(t *testing.T) {
	e := harness.New(t)
	bundle := e.Bundle("true", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.msgmax": "4096"} })
	leaked, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	id := e.ID("c")
	if r := e.RunWith(func(c *exec.Cmd) { c.ExtraFiles = []*os.File{leaked} }, "create", "--bundle", bundle, id); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	dir := fmt.Sprintf("/proc/%d/", e.State(id).Pid)
	if exe, err := os.Readlink(dir + "exe"); err != nil || exe != "/memfd:gantry-init (deleted)" {
		t.Errorf("exe is %q (%v)", exe, err)
	}
	maps, err := os.ReadFile(dir + "maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		_, file, _ := strings.Cut(line, "/")
		if file = strings.TrimSpace(file); file != "" && file != "memfd:gantry-init (deleted)" && file != "dev/zero (deleted)" {
			t.Errorf("maps holds %s", line)
		}
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		n, _ := strconv.Atoi(fd.Name())
		target, _ := os.Readlink(dir + "fd/" + fd.Name())
		// The container's own root is kept open to resolve paths in.
		if n > 2 && target != "/" && !strings.HasPrefix(target, "socket:") {
			t.Errorf("descriptor %d leads to %s", n, target)
		}
		var fs unix.Statfs_t
		if n > 2 && unix.Statfs(dir+"fd/"+fd.Name(), &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC {
			t.Errorf("descriptor %d leads to a procfs, of the host's processes", n)
		}
	}
}

// Where the exe swap is refused the runtime runs from a sealed copy; A1 then runs the
// runtime in the container, and that is all.
func TestCVE_2019_5736_TheSwapIsRefused(t *testing.T) {
	e := harness.New(t)
	guardBinary(t)
	refusing := func(c *exec.Cmd) {
		c.Args = append([]string{attacker, "refuse"}, c.Args...)
		c.Path = attacker
	}
	bundle := hostile(t, e, func(s *specs.Spec) { withCaps(s, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN") })
	id := e.ID("watcher")
	if r := e.RunWith(refusing, "run", "--detach", "--bundle", bundle, id); r.Code != 0 {
		t.Fatalf("exit %d: %s", r.Code, r.Stderr)
	}
	for _, program := range []string{"/a1", "/a2", "/a3"} {
		e.RunWith(refusing, "exec", "--detach", id, program)
	}
	found := report(t, bundle)
	if strings.Contains(found, identity(t, harness.Runtime(t))) || wrote(found) {
		t.Errorf("the runtime's file was reached:\n%s", found)
	}
	if !strings.Contains(found, "gantry-runc") {
		t.Errorf("the sealed copy was not seen, so the test proves nothing:\n%s", found)
	}
}

// Where memfds may not be executed, exe becomes the runtime's file behind a mount that is
// read-only and attached nowhere.
func needMemfdNoexec(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/sys/vm/memfd_noexec"); err != nil {
		t.Skip("this kernel (before 6.3) can't forbid executable memfds: ", err)
	}
}

func TestCVE_2019_5736_MemfdsAreNotExecutable(t *testing.T) {
	needMemfdNoexec(t)
	e := harness.New(t)
	guardBinary(t)
	bundle := hostile(t, e, func(s *specs.Spec) { withCaps(s, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN") })
	runc, id := harness.Runtime(t)+" --root "+e.Root, e.ID("watcher")
	script := fmt.Sprintf(`%s run --detach --bundle %s %s && for a in a1 a2 a3; do %s exec --detach %s /$a; done
		while [ ! -s %s/rootfs/report ]; do sleep 0.1; done`, runc, bundle, id, runc, id, bundle)
	cmd := exec.Command(attacker, "noexec", "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := report(t, bundle)
	if wrote(found) {
		t.Errorf("a program was written to:\n%s", found)
	}
	if !strings.Contains(found, identity(t, harness.Runtime(t))) {
		t.Errorf("the runtime's file was not seen, so the test proves nothing:\n%s", found)
	}
}

// Where neither can be had nothing is started.
func TestCVE_2019_5736_NoProtectionNoStart(t *testing.T) {
	needMemfdNoexec(t)
	e := harness.New(t)
	bundle := e.Bundle("true", nil)
	cmd := exec.Command(attacker, "noexec", attacker, "refuse", harness.Runtime(t), "--root", e.Root, "run", "--bundle", bundle, e.ID("c"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the runtime's binary can't be protected") {
		t.Errorf("%v, %s, want a refusal", err, out)
	}
}
