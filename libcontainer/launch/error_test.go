package launch

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// late is a report that `start` received, of a container whose program is x.
func late(kind lateKind, errno unix.Errno) error {
	return lateError(lateMark|uint32(kind), &plan.Execute{Args: []string{"x"}}, errno)
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{
			"field, operation, call, errno",
			&Error{Field: "mounts[3]", Op: &plan.Mount{Type: "tmpfs", Destination: "/dev/shm"}, Call: "mount", Errno: unix.EINVAL},
			"mounts[3]: mount tmpfs on /dev/shm: mount: invalid argument",
		},
		{
			"a memory policy of a younger kernel",
			&Error{
				Field: "linux.memoryPolicy", Op: &plan.SetMemoryPolicy{Mode: "MPOL_BIND", Flags: []string{"MPOL_F_NUMA_BALANCING"}},
				Call: "set_mempolicy", Errno: unix.EINVAL,
			},
			"linux.memoryPolicy: set memory policy MPOL_BIND with MPOL_F_NUMA_BALANCING: set_mempolicy: MPOL_F_NUMA_BALANCING needs Linux 5.12: invalid argument",
		},
		{
			"overlay without the right",
			&Error{Field: "mounts[3]", Op: &plan.Mount{Type: "overlay", Destination: "/o"}, Call: "mount", Errno: unix.EPERM},
			"mounts[3]: mount overlay on /o: mount: overlay in a user namespace needs Linux 5.11: operation not permitted",
		},
		{
			"a bind mount, as runc begins",
			&Error{Field: "mounts[3]", Op: &plan.BindMount{Source: "/a", Destination: "/b"}, Call: "mount_setattr", Errno: unix.EPERM},
			`unable to start container process: error during container init: error mounting "/a" to rootfs at "/b": ` +
				"mounts[3]: bind /a on /b: mount_setattr: operation not permitted",
		},
		{
			"a bind mount in a running container",
			&Error{Field: "mounts[3]", Op: &plan.BindMount{Source: "/a", Destination: "/b", NoSymlinks: true}, Call: "open_tree", Errno: unix.ENOENT},
			"mounts[3]: bind /a on /b: open_tree: no such file or directory",
		},
		{"no operation", &Error{Field: "linux.seccomp", Call: "seccomp", Errno: unix.EACCES}, "linux.seccomp: seccomp: permission denied"},
		{
			"a peer that is gone",
			&Error{Field: "process", Op: &plan.AwaitStart{}, Call: "read", Errno: ErrShort}, "process: wait for start: read: connection closed",
		},
		{
			"a program that PATH does not have",
			&Error{Field: "process.args[0]", Op: &plan.FindProgram{Name: "nope"}, Call: "faccessat2", Errno: unix.ENOENT},
			`process.args[0]: exec: "nope": executable file not found in $PATH`,
		},
		{
			"a program by its path",
			&Error{Field: "process.args[0]", Op: &plan.FindProgram{Name: "/no/pe"}, Call: "faccessat2", Errno: unix.ENOENT},
			`process.args[0]: exec: "/no/pe": stat /no/pe: no such file or directory`,
		},
		{
			"a program that can't be executed",
			&Error{Field: "process.args[0]", Op: &plan.FindProgram{Name: "./x"}, Call: "faccessat2", Errno: unix.EACCES},
			`process.args[0]: exec: "./x": permission denied`,
		},
		{
			"execve itself",
			&Error{Field: "process.args", Op: &plan.Execute{Args: []string{"x", "y"}}, Call: "execve", Errno: unix.ENOEXEC},
			"process.args: exec x: exec format error",
		},
		{
			"a procfs on a symlink",
			&Error{Field: "mounts[0]", Op: &plan.Mount{Type: "proc", Destination: "/proc"}, Call: "openat2", Errno: unix.ELOOP},
			`mounts[0]: filesystem "proc" must be mounted on ordinary directory: too many levels of symbolic links`,
		},
		{
			"another file system on a loop of symlinks",
			&Error{Field: "mounts[0]", Op: &plan.Mount{Type: "tmpfs", Destination: "/x"}, Call: "openat2", Errno: unix.ELOOP},
			"mounts[0]: mount tmpfs on /x: openat2: too many levels of symbolic links",
		},
		{
			"a working directory behind a magic link",
			&Error{Field: "process.cwd", Op: &plan.ChangeDir{Path: "/proc/self/fd/7"}, Call: "openat2", Errno: unix.ELOOP},
			"process.cwd: /proc/self/fd/7 leads through a link of procfs or a loop of symlinks: too many levels of symbolic links",
		},
		{
			"a mount label that the policy does not have",
			&Error{Field: "mounts[1]", Op: &plan.Mount{Type: "tmpfs", Destination: "/x", Data: `context="l"`}, Call: "mount", Errno: unix.EINVAL},
			`mounts[1]: mount tmpfs on /x data context="l": mount: linux.mountLabel, or another option, is not valid: invalid argument`,
		},
		{
			"a profile that is not loaded: podman looks for the file in back quotes",
			&Error{Field: "process.apparmorProfile", Op: &plan.ChangeProfile{Profile: "p"}, Call: "write", Errno: unix.ENOENT},
			"process.apparmorProfile: change to AppArmor profile p on exec: write `/proc/self/attr/apparmor/exec`: no such file or directory",
		},
		{
			"a label that the policy does not have",
			&Error{Field: "process.selinuxLabel", Op: &plan.SetExecLabel{Label: "l"}, Call: "write", Errno: unix.EINVAL},
			"process.selinuxLabel: take SELinux label l on exec: write `/proc/self/attr/exec`: invalid argument",
		},
		{
			"a label that keys can't have",
			&Error{Field: "process.selinuxLabel", Op: &plan.SessionKeyring{Name: "k", Label: "l"}, Call: "write", Errno: unix.EINVAL},
			"process.selinuxLabel: join session keyring k with SELinux label l: write `/proc/self/attr/keycreate`: invalid argument",
		},
		{
			"a user with too many keys",
			&Error{Field: "process", Op: &plan.SessionKeyring{Name: "k"}, Call: "keyctl", Errno: unix.EDQUOT},
			"process: join session keyring k: the user has as many keys as the sysctl kernel.keys.maxkeys or maxbytes allows " +
				"(with --no-new-keyring the container would use the caller's): disk quota exceeded",
		},
		{
			"a policy that the cgroup refuses",
			&Error{Field: "process.scheduler", Op: &plan.SetScheduler{Policy: "SCHED_RR", Priority: 1}, Call: "sched_setattr", Errno: unix.EPERM},
			"process.scheduler: set scheduler SCHED_RR priority 1: sched_setattr: needs CAP_SYS_NICE, and on cgroup v1 a real-time runtime " +
				"(linux.resources.cpu.realtimeRuntime): operation not permitted",
		},
		{
			"a policy that the kernel does not have",
			&Error{Field: "process.scheduler", Op: &plan.SetScheduler{Policy: "SCHED_ISO"}, Call: "sched_setattr", Errno: unix.EINVAL},
			"process.scheduler: set scheduler SCHED_ISO: sched_setattr: invalid argument",
		},
		{"start: no_new_privs", late(lateNoNewPrivileges, unix.EPERM), "process.noNewPrivileges: prctl: operation not permitted"},
		{"start: filter", late(lateSeccomp, unix.EINVAL), "linux.seccomp: seccomp: invalid argument"},
		{"start: capabilities", late(lateCapabilities, unix.EPERM), "process.capabilities: capset: operation not permitted"},
		{"start: program", late(lateExec, unix.ENOEXEC), "process.args: exec x: exec format error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.err.Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var e *Error
			if !errors.As(c.err, &e) || !errors.Is(c.err, e.Errno) {
				t.Error("it does not unwrap to its cause")
			}
		})
	}
}

// TestFailureFindsTheOperation turns reports back into the operation that failed.
func TestFailureFindsTheOperation(t *testing.T) {
	ops := []plan.Op{
		{Actor: plan.Child, Field: "process", Do: &plan.SetUmask{Mask: 0o22}},
		{Actor: plan.Child, Field: "hostname", Do: &plan.SetHostname{Name: "box"}},
		{Actor: plan.Child, Field: "process.args", Do: &plan.Execute{Args: []string{"x"}}},
	}
	w := lowerPlan(t, &plan.Plan{Ops: append([]plan.Op{{Do: &plan.Clone{}}}, ops...)})
	end := uint32(len(w.program.ops))
	for _, c := range []struct {
		name      string
		id, errno uint32
		want      string
	}{
		{"its step", end - 2, uint32(unix.EPERM), "hostname: set hostname box: sethostname: operation not permitted"},
		{"the step before", end - 3, uint32(unix.EINVAL), "process: set umask 022: umask: invalid argument"},
		{"a short result", end - 2, 0, "hostname: set hostname box: sethostname: connection closed"},
		{"a late step", lateMark | uint32(lateSeccomp), uint32(unix.EINVAL), "linux.seccomp: seccomp: invalid argument"},
		{"a step that is not there", end, uint32(unix.EINVAL), "process.args: exec x: invalid argument"},
	} {
		if got := w.failure(ops, c.id, c.errno).Error(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestHomeOf(t *testing.T) {
	passwd := strings.Join([]string{
		"root:x:0:0:root:/root:/bin/sh",
		"",
		"# a comment",
		"short:x:1:1:/short",
		"1000:x:7:7:a name that looks like a number:/seven:/bin/sh",
		"empty:x:8:8:::/bin/sh",
		"eight:x:8:8::/eight:",
		"many:x:9:9:a:/nine:/bin/sh:more:fields",
		"plus:x:+10:10::/plus:",
		"zeros:x:010:10::/zeros:",
		"neg:x:-1:10::/neg:",
		"big:x:4294967295:10::/big:",
		"first:x:11:1::/first:",
		"second:x:11:1::/second:",
		"last:x:12:12::/without newline:",
	}, "\n")
	for _, c := range []struct {
		name string
		uid  uint32
		want string
	}{
		{"root", 0, "/root"},
		{"a user called 1000 is not user 1000", 1000, "/"},
		{"but the number that the entry has", 7, "/seven"},
		{"a line with too few fields is none", 1, "/"},
		{"an empty home is none", 8, "/eight"},
		{"a shell with colons", 9, "/nine"},
		{"only the number as it is written", 10, "/"},
		{"no number is negative", 4294967295, "/big"},
		{"the first of two counts", 11, "/first"},
		{"the last line needs no end", 12, "/without newline"},
		{"nobody", 4000, "/"},
	} {
		if got := HomeOf([]byte(passwd), c.uid); got != c.want {
			t.Errorf("%s: uid %d lives in %q, want %q", c.name, c.uid, got, c.want)
		}
	}
	if got := HomeOf(nil, 0); got != "/" {
		t.Errorf("without a file root lives in %q", got)
	}
}

// TestFindHomeStaysInItsPlace: an entry as long as the buffer must not run over what follows.
func TestFindHomeStaysInItsPlace(t *testing.T) {
	for _, c := range []struct {
		name   string
		length int // of the home directory's path
		want   int // of HOME=…
	}{
		{"a usual one", 10, 15},
		{"the longest that fits", homeSize - len("HOME=") - 1, homeSize - 1},
		{"one that does not fit", homeSize - len("HOME="), len("HOME=/")},
	} {
		a, err := newArena()
		if err != nil {
			t.Fatal(err)
		}
		copy(a.scratch()[homeSize:], "u:x:5:5::/"+strings.Repeat("a", c.length-1)+":\n")
		p := &Process{arena: a}
		p.findHome(&plan.FindHome{UID: 5})
		home, _, _ := strings.Cut(string(a.scratch()[:homeSize]), "\x00")
		if len(home) != c.want || !strings.HasPrefix(home, "HOME=/") {
			t.Errorf("%s: %d bytes, want %d", c.name, len(home), c.want)
		}
		if a.scratch()[homeSize] != 'u' {
			t.Errorf("%s: it runs over what follows", c.name)
		}
		a.free()
	}
}
