package root_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/tests/harness"
)

// capSets reads the five capability sets of a process.
func capSets(t *testing.T, pid int) map[string]string {
	t.Helper()
	sets := make(map[string]string)
	for _, name := range []string{"CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"} {
		sets[name] = strings.TrimLeft(status(t, pid, name), "0")
	}
	return sets
}

func TestCapabilities(t *testing.T) {
	harness.NeedRoot(t)
	const chown, netBind, sysChroot = "1", "400", "40000"
	for _, tc := range []struct {
		name string
		uid  uint32
		caps *specs.LinuxCapabilities
		want map[string]string
	}{
		// With noNewPrivileges, as the spec bundle has it, execve(2) gives root no more than it has.
		{
			"of root", 0, &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}},
			map[string]string{"CapBnd": chown, "CapEff": chown, "CapPrm": chown, "CapInh": "", "CapAmb": ""},
		},
		{
			"of root, more bounding than permitted", 0, &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_KILL"}, Permitted: []string{"CAP_CHOWN"}},
			map[string]string{"CapBnd": "21", "CapEff": chown, "CapPrm": chown, "CapInh": "", "CapAmb": ""},
		},
		{"of a user, without ambient ones", 1000, &specs.LinuxCapabilities{
			Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}, Inheritable: []string{"CAP_CHOWN"},
		}, map[string]string{"CapBnd": chown, "CapEff": "", "CapPrm": "", "CapInh": chown, "CapAmb": ""}},
		{"of a user, with ambient ones", 1000, &specs.LinuxCapabilities{
			Bounding: []string{"CAP_NET_BIND_SERVICE", "CAP_KILL"}, Effective: []string{"CAP_NET_BIND_SERVICE"},
			Permitted: []string{"CAP_NET_BIND_SERVICE"}, Inheritable: []string{"CAP_NET_BIND_SERVICE"}, Ambient: []string{"CAP_NET_BIND_SERVICE"},
		}, map[string]string{"CapBnd": "420", "CapEff": netBind, "CapPrm": netBind, "CapInh": netBind, "CapAmb": netBind}},
		{"none", 0, &specs.LinuxCapabilities{}, map[string]string{"CapBnd": "", "CapEff": "", "CapPrm": "", "CapInh": "", "CapAmb": ""}},
		{"not said", 0, nil, map[string]string{"CapBnd": "", "CapEff": "", "CapPrm": "", "CapInh": "", "CapAmb": ""}},
		{"of root, inheritable too", 0, &specs.LinuxCapabilities{
			Bounding: []string{"CAP_SYS_CHROOT"}, Effective: []string{"CAP_SYS_CHROOT"}, Permitted: []string{"CAP_SYS_CHROOT"}, Inheritable: []string{"CAP_SYS_CHROOT"},
		}, map[string]string{"CapBnd": sysChroot, "CapEff": sysChroot, "CapPrm": sysChroot, "CapInh": sysChroot, "CapAmb": ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := start(t, func(s *specs.Spec) {
				s.Process.User.UID, s.Process.Capabilities = tc.uid, tc.caps
			})
			equal(t, "capabilities", tc.want, capSets(t, c.pid))
		})
	}
}

func TestFileCapabilitiesGainNothing(t *testing.T) {
	harness.NeedRoot(t)
	if _, err := exec.LookPath("setcap"); err != nil {
		t.Skip("setcap is not installed (Debian: libcap2-bin)")
	}
	prepare := func(rootfs string) {
		b := read(t, filepath.Join(rootfs, "bin", "busybox"))
		write(t, filepath.Join(rootfs, "bin", "cat-cap"), b)
		file := filepath.Join(rootfs, "bin", "cat-cap")
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("setcap", "cap_kill=ep", file).CombinedOutput(); err != nil {
			t.Skipf("setcap: %v: %s", err, out)
		}
	}
	const script = "/bin/cat-cap cat /proc/self/status 2>/dev/null | grep -E 'Cap(Prm|Eff)|NoNew'"
	user := func(noNewPrivileges bool) change {
		return func(s *specs.Spec) {
			s.Process.User.UID, s.Process.NoNewPrivileges = 1000, noNewPrivileges
			s.Process.Args = []string{"sh", "-c", "ln -s /bin/cat-cap /tmp/cat; " + strings.Replace(script, "/bin/cat-cap cat", "/tmp/cat", 1)}
		}
	}
	t.Run("with noNewPrivileges", func(t *testing.T) {
		out, _ := inRootfs(t, prepare, script, user(true))
		equal(t, "status", "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1", out)
	})
	t.Run("without it the program gets its own", func(t *testing.T) { // or the case above proved nothing
		out, _ := inRootfs(t, prepare, script, user(false))
		equal(t, "status", "CapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nNoNewPrivs:\t0", out)
	})
}

// limitsOf reads /proc/PID/limits as soft and hard per name.
func limitsOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	limits := make(map[string]string)
	for line := range strings.Lines(proc(t, pid, "limits")) {
		if len(line) > 67 {
			limits[strings.TrimSpace(line[:26])] = strings.TrimSpace(line[26:47]) + " " + strings.TrimSpace(line[47:67])
		}
	}
	return limits
}

func TestRlimits(t *testing.T) {
	harness.NeedRoot(t)
	want := map[string]specs.POSIXRlimit{
		"Max cpu time": {Type: "RLIMIT_CPU", Soft: 1000, Hard: 2000}, "Max file size": {Type: "RLIMIT_FSIZE", Soft: 1 << 30, Hard: 1 << 31},
		"Max data size": {Type: "RLIMIT_DATA", Soft: 1 << 32, Hard: 1 << 33}, "Max stack size": {Type: "RLIMIT_STACK", Soft: 1 << 20, Hard: 1 << 21},
		"Max core file size": {Type: "RLIMIT_CORE", Soft: 0, Hard: 7}, "Max resident set": {Type: "RLIMIT_RSS", Soft: 3, Hard: 4},
		"Max processes": {Type: "RLIMIT_NPROC", Soft: 5000, Hard: 6000}, "Max open files": {Type: "RLIMIT_NOFILE", Soft: 300, Hard: 400},
		"Max locked memory": {Type: "RLIMIT_MEMLOCK", Soft: 4096, Hard: 8192}, "Max address space": {Type: "RLIMIT_AS", Soft: 1 << 40, Hard: 1 << 41},
		"Max file locks": {Type: "RLIMIT_LOCKS", Soft: 5, Hard: 6}, "Max pending signals": {Type: "RLIMIT_SIGPENDING", Soft: 70, Hard: 80},
		"Max msgqueue size": {Type: "RLIMIT_MSGQUEUE", Soft: 9000, Hard: 10000}, "Max nice priority": {Type: "RLIMIT_NICE", Soft: 0, Hard: 0},
		"Max realtime priority": {Type: "RLIMIT_RTPRIO", Soft: 0, Hard: 0}, "Max realtime timeout": {Type: "RLIMIT_RTTIME", Soft: 5000, Hard: 6000},
	}
	c := start(t, func(s *specs.Spec) {
		s.Process.Rlimits = nil
		for _, l := range want {
			s.Process.Rlimits = append(s.Process.Rlimits, l)
		}
	})
	got := limitsOf(t, c.pid)
	for name, l := range want {
		equal(t, l.Type, fmt.Sprintf("%d %d", l.Soft, l.Hard), got[name])
	}
}

func TestDefaultOpenFilesAreTheCallers(t *testing.T) {
	harness.NeedRoot(t)
	e := harness.New(t)
	bundle := e.Bundle(sleeper, func(s *specs.Spec) { s.Process.Rlimits = nil })
	id := e.ID("c")
	// Go raises its own soft limit at start-up; the container must not see that.
	r := e.RunWith(func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `ulimit -Sn 123; ulimit -Hn 456; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}, "run", "-d", "-b", bundle, id)
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	equal(t, "open files", "123 456", limitsOf(t, e.State(id).Pid)["Max open files"])
	equal(t, "everything else", limitsOf(t, os.Getpid())["Max stack size"], limitsOf(t, e.State(id).Pid)["Max stack size"])
}

func TestUser(t *testing.T) {
	harness.NeedRoot(t)
	c := start(t, func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 1002, 7}, Umask: new(uint32(0o027))}
	})
	equal(t, "Uid", "1000 1000 1000 1000", status(t, c.pid, "Uid"))
	equal(t, "Gid", "1001 1001 1001 1001", status(t, c.pid, "Gid"))
	equal(t, "Groups", "5 7 1002", status(t, c.pid, "Groups"))
	equal(t, "Umask", "0027", status(t, c.pid, "Umask"))
}

func TestDefaultUserHasNoGroupsOfTheCaller(t *testing.T) {
	harness.NeedRoot(t)
	before, err := unix.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 {
		t.Log("the caller has no groups to leak")
	}
	c := start(t, nil)
	equal(t, "Groups", "", status(t, c.pid, "Groups"))
	equal(t, "Umask", "0022", status(t, c.pid, "Umask"))
}

func TestANumberIsNeverAName(t *testing.T) { // CVE-2016-3697
	out, _ := inRootfs(t, func(rootfs string) {
		write(t, filepath.Join(rootfs, "etc", "passwd"), "1000:x:0:0::/root-of-1000:/bin/sh\nx:x:1000:1000::/home/x:/bin/sh\n")
	}, "id -u; echo $HOME", func(s *specs.Spec) { s.Process.User.UID = 1000 })
	equal(t, "user and home", "1000\n/home/x", out)
}

func TestWorkingDirectory(t *testing.T) {
	in := func(dir string, edit change) change {
		return func(s *specs.Spec) {
			s.Process.Cwd = dir
			if edit != nil {
				edit(s)
			}
		}
	}
	t.Run("exists", func(t *testing.T) { expect(t, "pwd", "/usr/bin", in("/usr/bin", nil)) })
	t.Run("is made when missing", func(t *testing.T) { expect(t, "pwd; stat -c '%a %u' .", "/new/dir\n755 0", in("/new/dir", nil)) })
	t.Run("is on a mount", func(t *testing.T) {
		expect(t, "pwd; touch x && echo ok", "/mnt/sub\nok", in("/mnt/sub", withMounts(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs"})))
	})
	t.Run("is out of the user's reach", func(t *testing.T) {
		// As in runc: images have such directories.
		expect(t, "pwd", "/root", in("/root", func(s *specs.Spec) { s.Process.User.UID = 1000 }))
	})
	t.Run("is a file", func(t *testing.T) { refuse(t, in("/etc/passwd", nil), "cwd", "not a directory") })
	t.Run("is relative", func(t *testing.T) { refuse(t, in("etc", nil), "process.cwd") })
	t.Run("leads to a descriptor of the host", func(t *testing.T) { // CVE-2024-21626
		harness.NeedRoot(t)
		dir, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		e := harness.New(t)
		r := e.RunWith(func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{dir} },
			"run", "--preserve-fds", "1", "-b", e.Bundle("pwd", in("/proc/self/fd/3", nil)), e.ID("c"))
		wantFailure(t, r, "cwd")
	})
}

func TestEnvironment(t *testing.T) {
	with := func(env ...string) change { return func(s *specs.Spec) { s.Process.Env = env } }
	path := "PATH=/bin"
	t.Run("is the config's, and HOME", func(t *testing.T) {
		expect(t, "cat /proc/1/environ | tr '\\0' '\\n' | sort", "A=1\nEMPTY=\nHOME=/root\nPATH=/bin", with(path, "A=1", "EMPTY="))
	})
	t.Run("a variable that is said twice is there once, as said last", func(t *testing.T) {
		expect(t, "env | grep -v PWD | sort", "A=2\nHOME=/root\nPATH=/bin\nSHLVL=1", with(path, "A=1", "A=2", "HOME=/x", "HOME="))
	})
	t.Run("HOME given is kept", func(t *testing.T) { expect(t, "echo $HOME", "/elsewhere", with(path, "HOME=/elsewhere")) })
	t.Run("HOME of a user without an entry", func(t *testing.T) {
		expect(t, "echo $HOME", "/", func(s *specs.Spec) { s.Process.User.UID = 4711 })
	})
	t.Run("HOME from a passwd that is mounted", func(t *testing.T) {
		dir := source(t)
		write(t, dir+"/passwd", "root:x:0:0:root:/mounted:/bin/sh\n")
		expect(t, "echo $HOME", "/mounted", withMounts(bind(dir+"/passwd", "/etc/passwd")))
	})
	t.Run("PATH finds the program", func(t *testing.T) {
		dir := source(t)
		write(t, dir+"/hello", "#!/bin/sh\necho found\n")
		if err := os.Chmod(dir+"/hello", 0o755); err != nil {
			t.Fatal(err)
		}
		expect(t, "", "found", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(dir, "/opt"))
			s.Process.Args, s.Process.Env = []string{"hello"}, []string{"PATH=/none:/opt:/bin"}
		})
	})
}

// TestProgramThatOnlyACapabilityMayExecute: access(2) is asked with the rights of the program.
func TestProgramThatOnlyACapabilityMayExecute(t *testing.T) {
	dir := source(t)
	write(t, dir+"/hello", "#!/bin/sh\necho ran\n")
	if err := os.Chmod(dir+"/hello", 0o700); err != nil {
		t.Fatal(err)
	}
	program := func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(dir, "/opt"))
		s.Process.Args, s.Process.User.UID = []string{"/opt/hello"}, 1000
	}
	refuse(t, program, "process.args[0]", "permission denied")
	expect(t, "", "ran", func(s *specs.Spec) {
		program(s)
		grant(s, "CAP_DAC_OVERRIDE")
		s.Process.Capabilities.Inheritable = []string{"CAP_DAC_OVERRIDE"}
		s.Process.Capabilities.Ambient = []string{"CAP_DAC_OVERRIDE"}
	})
}

func TestNoNewPrivileges(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			want := map[bool]string{true: "NoNewPrivs:\t1", false: "NoNewPrivs:\t0"}[on]
			expect(t, "grep NoNewPrivs /proc/self/status", want, func(s *specs.Spec) { s.Process.NoNewPrivileges = on })
		})
	}
}

func TestOOMScoreAdj(t *testing.T) {
	harness.NeedRoot(t)
	own := read(t, "/proc/self/oom_score_adj")
	t.Run("as configured", func(t *testing.T) {
		expect(t, "cat /proc/self/oom_score_adj", "321", func(s *specs.Spec) { s.Process.OOMScoreAdj = new(321) })
	})
	t.Run("inherited", func(t *testing.T) { expect(t, "cat /proc/self/oom_score_adj", own, nil) })
}

func TestSignalsAndSession(t *testing.T) {
	harness.NeedRoot(t)
	e := harness.New(t)
	c := &container{Env: e, t: t, id: e.ID("c")}
	// A caller that ignores signals, as nohup(1) and many daemons do.
	r := e.RunWith(func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `trap '' HUP PIPE USR1; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}, "run", "-d", "-b", e.Bundle("", func(s *specs.Spec) { s.Process.Args = []string{"sleep", "1000"} }), c.id)
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	c.pid = e.State(c.id).Pid
	equal(t, "blocked signals", "", strings.TrimLeft(status(t, c.pid, "SigBlk"), "0"))
	equal(t, "ignored signals", "", strings.TrimLeft(status(t, c.pid, "SigIgn"), "0"))
	stat := strings.Fields(proc(t, c.pid, "stat"))
	equal(t, "it leads its process group and session", []string{fmt.Sprint(c.pid), fmt.Sprint(c.pid)}, stat[4:6])
	personality, _, errno := unix.Syscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	equal(t, "personality", fmt.Sprintf("%08x", personality), proc(t, c.pid, "personality"))
}

func TestStdioBelongsToTheUser(t *testing.T) {
	harness.NeedRoot(t)
	const reopen = "for fd in 1 2; do echo $fd >/proc/self/fd/$fd || echo no $fd; done"
	for name, edit := range map[string]change{
		"a user":                     func(s *specs.Spec) { s.Process.User.UID = 1000 },
		"root of a user namespace":   mapped,
		"a user of a user namespace": func(s *specs.Spec) { mapped(s); s.Process.User.UID = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			r := e.RunWith(func(cmd *exec.Cmd) {
				cmd.Args = append([]string{"sh", "-c", `("$@" | cat) 2>&1 | cat`, "sh", cmd.Path}, cmd.Args[1:]...)
				cmd.Path = "/bin/sh"
			}, "run", "-b", e.Bundle(reopen, edit), e.ID("c"))
			for _, fd := range []string{"1", "2"} {
				if !strings.Contains(r.Stdout, fd+"\n") || strings.Contains(r.Stdout, "no "+fd) {
					t.Errorf("descriptor %s can't be opened again: %q", fd, r.Stdout)
				}
			}
		})
	}
}

// TestNullStdio gives the container the host's /dev/null, for reading only as containerd
// does: the program writes to it all the same, and to the container's own.
func TestNullStdio(t *testing.T) {
	const script = `echo lost && m=$(sed -n 's/mnt_id:[^0-9]*//p' /proc/self/fdinfo/0) && grep -q "^$m .* /dev " /proc/self/mountinfo`
	e := harness.New(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r := e.RunWith(func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout = null, null }, "run", "-b", e.Bundle(script, nil), e.ID("c"))
	equal(t, "run", harness.Result{}, r)

	// What the image has instead is not followed, and a container without it starts.
	for name, plant := range map[string]string{
		"none": "true", "a symlink": "ln -s /etc/passwd dev/null", "a directory": "mkdir dev/null",
		"a file": ": >dev/null; chmod 600 dev/null", "a FIFO": "mkfifo dev/null", "another device": "mknod dev/null c 1 7",
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.New(t)
			bundle := e.Bundle("echo lost; test ! -s /etc/passwd", func(s *specs.Spec) {
				s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev") })
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev", Type: "bind", Source: "dev", Options: []string{"bind"}})
				s.Linux.MaskedPaths = nil
			})
			plant := exec.Command("sh", "-ec", "mkdir -p dev rootfs/dev; : >rootfs/etc/passwd;"+plant)
			plant.Dir = bundle
			if out, err := plant.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			r := e.RunWith(func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout = nil, nil }, "run", "-b", bundle, e.ID("c"))
			equal(t, "run", harness.Result{}, r)
			if info, err := os.Lstat(filepath.Join(bundle, "dev/null")); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
				t.Error("what the program wrote is in the file")
			}
		})
	}
}
