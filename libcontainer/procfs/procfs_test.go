package procfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const childEnv = "GANTRY_PROCFS_CHILD"

// TestMain lets a copy of the test binary check one case where a script put it.
func TestMain(m *testing.M) {
	check := os.Getenv(childEnv)
	if check == "" {
		os.Exit(m.Run())
	}
	if err := checks[check](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// both returns the private procfs and the verified one of the host.
func both() (all map[string]*FS, err error) {
	private, err := openPrivate()
	if err != nil {
		return nil, err
	}
	host, err := openHost("/proc")
	if err != nil {
		return nil, err
	}
	return map[string]*FS{"private": {private}, "host's": {host}}, nil
}

func mustOpen(t *testing.T) *FS {
	t.Helper()
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts in a private mount namespace")
	}
}

func TestReadAndWrite(t *testing.T) {
	f := mustOpen(t)
	self := fmt.Sprint(os.Getpid())
	want, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.ReadFile(self + "/cmdline")
	if err != nil || string(got) != string(want) {
		t.Errorf("cmdline %q, %v, want %q", got, err, want)
	}
	if err = f.WriteFile(self+"/comm", []byte("renamed")); err != nil {
		t.Error(err)
	}
	fd, err := f.Open(self+"/comm", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	if err != nil || string(buf[:n]) != "renamed\n" {
		t.Errorf("comm %q, %v", buf[:max(n, 0)], err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("descriptor flags %d, %v, want close-on-exec", flags, err)
	}
}

func TestReadFileLargerThanItsFirstBuffer(t *testing.T) {
	f := mustOpen(t)
	text, err := f.ReadFile("kallsyms")
	if errors.Is(err, unix.ENOENT) {
		t.Skip("needs a kernel with kallsyms")
	}
	if err != nil || len(text) <= 4096 || text[len(text)-1] != '\n' {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

func TestOpenRefusesLinksAndWaysOut(t *testing.T) {
	f := mustOpen(t)
	self := fmt.Sprint(os.Getpid())
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"the link self", "self/comm", unix.ELOOP},
		{"a magic link to a directory", self + "/cwd/x", unix.ELOOP},
		{"a magic link to a file", self + "/exe", unix.ELOOP},
		{"a namespace", self + "/ns/net", unix.ELOOP},
		{"the parent of the root", "..", unix.EXDEV},
		{"a detour over the parent", "sys/../../etc/passwd", unix.EXDEV},
		{"an absolute path", "/etc/passwd", unix.EXDEV},
		{"a process that isn't", "2147483647/comm", unix.ENOENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := f.Open(c.path, unix.O_RDONLY)
			if !errors.Is(err, c.want) {
				t.Errorf("descriptor %d, %v, want %v", fd, err, c.want)
			}
		})
	}
}

func TestWriteErrorNamesTheFile(t *testing.T) {
	f := mustOpen(t)
	path := fmt.Sprintf("%d/oom_score_adj", os.Getpid())
	err := f.WriteFile(path, []byte("5000"))
	if !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "write /proc/"+path+": ") {
		t.Errorf("got %v, want EINVAL that names %s", err, path)
	}
}

func TestOpenHostRefusesWhatIsNotProc(t *testing.T) {
	for _, path := range []string{"/", "/proc/sys", "/proc/self/fd"} {
		if fd, err := openHost(path); !errors.Is(err, ErrNotProc) {
			t.Errorf("%s: descriptor %d, %v, want ErrNotProc", path, fd, err)
		}
	}
	link := t.TempDir() + "/proc"
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	if fd, err := openHost(link); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a link: descriptor %d, %v, want ENOTDIR", fd, err)
	}
}

// checks run after a script has set a trap; each is proved to be one by a plain open.
var checks = map[string]func() error{
	"covered directory": func() error { return trapped("sys/kernel/fake") },
	"covered file":      func() error { return trapped("sys/kernel/ostype") },
	"covered attribute": func() error { return trapped(fmt.Sprintf("%d/attr/current", os.Getpid())) },
	"other proc file":   func() error { return trapped("sys/kernel/domainname") },
	"not proc": func() error {
		if fd, err := openHost("/proc"); !errors.Is(err, ErrNotProc) {
			return fmt.Errorf("descriptor %d, %w, want ErrNotProc", fd, err)
		}
		f, err := Open() // the private one doesn't mind
		if err != nil {
			return err
		}
		_, err = f.ReadFile("version")
		return err
	},
	"fallback": func() error {
		if fd, err := openPrivate(); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("private: descriptor %d, %w, want EPERM", fd, err)
		}
		f, err := Open()
		if err != nil {
			return err
		}
		_, err = f.ReadFile("version")
		return err
	},
}

// trapped checks that a path whose plain open reaches a file with "fake" in it is refused
// by the host's procfs and reaches the true file, or none, through the private one.
func trapped(path string) error {
	if text, err := os.ReadFile("/proc/" + path); err != nil || !strings.HasPrefix(string(text), "fake") {
		return fmt.Errorf("the trap was not set: %q, %w", text, err)
	}
	all, err := both()
	if err != nil {
		return err
	}
	_, err = all["host's"].ReadFile(path)
	if err == nil || !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("host's: %w, want EXDEV", err)
	}
	if err = all["host's"].WriteFile(path, []byte("x")); !errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("write to the host's: %w, want EXDEV", err)
	}
	// Not every attribute can be read where no security module is; that is no deception.
	text, err := all["private"].ReadFile(path)
	if strings.Contains(string(text), "fake") {
		return fmt.Errorf("private: %q, %w", text, err)
	}
	return nil
}

func TestMountsOverProcDeceiveNobody(t *testing.T) {
	needRoot(t)
	// The mounts go with the private namespace.
	fake := "cd " + t.TempDir() + "; mount -t tmpfs none .; cd $PWD; echo fake > fake\n"
	for check, script := range map[string]string{
		"covered directory": fake + "mount --bind . /proc/sys/kernel",
		"covered file":      fake + "mount --bind fake /proc/sys/kernel/ostype",
		"covered attribute": fake + "mount --bind fake /proc/$$/attr/current",
		"other proc file":   "hostname fake; mount --bind /proc/sys/kernel/hostname /proc/sys/kernel/domainname",
		"not proc":          "mount -t tmpfs none /proc",
	} {
		t.Run(check, func(t *testing.T) { runIn(t, check, script, "-m", "-u") })
	}
}

func TestOpenFallsBackWhereMountingProcIsForbidden(t *testing.T) {
	needRoot(t)
	runIn(t, "fallback", "", "-Ur") // owns its user namespace but not the pid namespace
}

func runIn(t *testing.T, check, script string, unshare ...string) {
	t.Helper()
	cmd := exec.Command("unshare", append(unshare, "/bin/sh", "-ec", script+"\nexec \"$0\"", os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"="+check)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
