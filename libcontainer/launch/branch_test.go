package launch

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// The programs of single operations, followed by hand: the answers of the kernel are made
// up, and what is called because of them is written down.

// answers are the errnos with which calls are answered, by name and, after a space, the
// path they are about, in the order of the calls; the last goes for all that follow. A call
// that is not named succeeds.
type answers map[string][]unix.Errno

// follow returns the calls of an operation's program, each with its path, as far as it
// goes; one that fails is the last, with its errno.
func follow(t *testing.T, do plan.Action, given answers) []string {
	t.Helper()
	w := lowerPlan(t, &plan.Plan{Ops: []plan.Op{{Do: &plan.Clone{}}, {Actor: plan.Child, Do: do}}})
	var calls []string
	for i := 0; i < len(w.program.ops); {
		s := w.stepAt(uint32(i))
		ok, failed, _ := next(s, i)
		if s.nr == opSet {
			if name, found := w.text(s.a[0]); found {
				calls = append(calls, "choose "+name)
			}
			i = ok
			continue
		}
		call := w.call(s)
		errno := given.take(call)
		switch {
		case errno == 0:
			i = ok
		case s.accept&(1<<errno) != 0:
			call += ": " + unix.ErrnoName(errno)
			i = failed
		default:
			return append(calls, call+" fails: "+unix.ErrnoName(errno))
		}
		if name := callName(int(s.nr)); name != "close" && name != "rt_sigprocmask" {
			calls = append(calls, call)
		}
	}
	return calls
}

// call names a step and the path that it is about.
func (w *lowered) call(s *step) string {
	name := callName(int(s.nr))
	for _, arg := range s.a[:2] {
		if path, ok := w.text(arg); ok && path > " " { // a message to the runtime is no text
			return name + " " + path
		}
	}
	return name
}

func (a answers) take(call string) unix.Errno {
	list := a[call]
	if len(list) == 0 {
		return 0
	}
	if len(list) > 1 {
		a[call] = list[1:]
	}
	return list[0]
}

func TestBranches(t *testing.T) {
	device := &plan.MakeDevice{Device: plan.Device{Path: "/dev/x", Type: 'c', Major: 1, Minor: 3, UID: 7}}
	mask := &plan.MaskPath{Path: "/p"}
	bind := &plan.BindMount{Destination: "/a/b", Source: "/src"}
	unreachable := &plan.BindMount{Destination: "/a", Source: "/src", ByRuntime: true}
	inside := &plan.BindMount{Destination: "/a", Source: "/b/r/src", SourceInRoot: "/src", ByRuntime: true}
	flagged := &plan.BindMount{Destination: "/a", Source: "/src", Flags: plan.MountFlags{Set: plan.NoDev}}
	dir := &plan.MakeDir{Path: "/a/b"}
	program := &plan.FindProgram{Name: "sh", Path: "/one::/two"}
	byPath := &plan.FindProgram{Name: "./sh", Path: "/one"}
	const missing, exists = unix.ENOENT, unix.EEXIST
	const prepared = "fsopen tmpfs, fsconfig, fsconfig, fsconfig, fsmount, openat2 /dev/null, " // before the first mask
	for _, c := range []struct {
		name  string
		do    plan.Action
		given answers
		want  string
	}{
		{"a device is made and given away", device, nil, "openat2 dev, mknodat x, fchownat x"},
		{"a device that the image has is left alone", device, answers{"mknodat x": {exists}}, "openat2 dev, mknodat x: EEXIST, faccessat2 x"},
		{
			"where nodes are forbidden the host's is bound, and stays the host's", device,
			answers{"mknodat x": {unix.EPERM, 0}, "faccessat2 x": {missing}},
			"openat2 dev, mknodat x: EPERM, faccessat2 x: ENOENT, open_tree /dev/x, mknodat x, openat2 x, move_mount",
		},
		{"a device that can't be made", device, answers{"mknodat x": {unix.EIO}}, "openat2 dev, mknodat x fails: EIO"},

		{"a directory is covered by the empty one", mask, nil, prepared + "openat2 p, open_tree, move_mount"},
		{
			"before Linux 6.15 the first directory gets the empty one itself", mask,
			answers{"open_tree": {unix.EINVAL}},
			prepared + "openat2 p, open_tree: EINVAL, move_mount",
		},
		{
			"a file is covered by /dev/null", mask,
			answers{"openat2 p": {unix.ENOTDIR, 0}},
			prepared + "openat2 p: ENOTDIR, openat2 p, open_tree, move_mount",
		},
		{
			"what is missing needs no mask", mask,
			answers{"openat2 p": {missing}},
			prepared + "openat2 p: ENOENT, openat2 p: ENOENT",
		},
		{
			"a path that goes round in circles is no reason to go without", mask,
			answers{"openat2 p": {unix.ELOOP}},
			prepared + "openat2 p fails: ELOOP",
		},
		{"a missing path need not be read-only", &plan.ReadonlyPath{Path: "/p"}, answers{"openat2 p": {missing}}, "openat2 p: ENOENT"},

		{"a target that exists", bind, nil, "open_tree /src, openat2 a/b, move_mount"},
		{
			"a directory's target is made a directory", bind,
			answers{"openat2 a/b": {missing, 0}},
			"open_tree /src, openat2 a/b: ENOENT, openat ., mkdirat a, openat2 a, mkdirat b, openat2 a/b, move_mount",
		},
		{
			"a file's target is made a file", bind,
			answers{"openat2 a/b": {missing, 0}, "openat .": {unix.ENOTDIR}},
			"open_tree /src, openat2 a/b: ENOENT, openat .: ENOTDIR, mkdirat a, openat2 a, mknodat b, openat2 a/b, move_mount",
		},
		{
			"the runtime makes a directory behind a dangling link", bind,
			answers{"openat2 a/b": {missing, missing, 0}},
			"open_tree /src, openat2 a/b: ENOENT, openat ., mkdirat a, openat2 a, mkdirat b, openat2 a/b: ENOENT, write, read, openat2 a/b, move_mount",
		},
		{
			"and a file", bind,
			answers{"openat2 a/b": {missing, missing, 0}, "openat .": {unix.ENOTDIR}, "openat2 a": {missing}},
			"open_tree /src, openat2 a/b: ENOENT, openat .: ENOTDIR, mkdirat a, openat2 a: ENOENT, openat2 a/b: ENOENT, write, read, openat2 a/b, move_mount",
		},
		{
			"a target that can't be made", bind,
			answers{"openat2 a/b": {missing}},
			"open_tree /src, openat2 a/b: ENOENT, openat ., mkdirat a, openat2 a, mkdirat b, openat2 a/b: ENOENT, write, read, openat2 a/b fails: ENOENT",
		},

		{"a source that a mapped root can reach", unreachable, nil, "open_tree /src, openat2 a, move_mount"},
		{
			"a source that a mapped root can't reach is opened by the runtime", unreachable,
			answers{"open_tree /src": {unix.EACCES}},
			"open_tree /src: EACCES, openat2 /, write, recvmsg, open_tree, openat2 a, move_mount",
		},
		{"a source that is missing", unreachable, answers{"open_tree /src": {missing}}, "open_tree /src fails: ENOENT"},
		{"a source in the root", inside, nil, "openat2 src, open_tree, openat2 a, move_mount"},
		{
			"one that a mapped root can't reach", inside,
			answers{"openat2 src": {unix.EACCES}},
			"openat2 src: EACCES, write, recvmsg, open_tree, openat2 a, move_mount",
		},
		{"attributes that may be changed", flagged, nil, "open_tree /src, mount_setattr, openat2 a, move_mount"},
		{
			"locked ones are kept", flagged,
			answers{"mount_setattr": {unix.EPERM, 0}},
			"open_tree /src, mount_setattr: EPERM, mount_setattr, openat2 a, move_mount",
		},
		{
			"or it is an error", flagged,
			answers{"mount_setattr": {unix.EPERM}},
			"open_tree /src, mount_setattr: EPERM, mount_setattr fails: EPERM",
		},

		{"a directory that exists", dir, nil, "openat2 a/b"},
		{
			"parents that exist", dir,
			answers{"openat2 a/b": {missing, 0}, "mkdirat a": {exists}},
			"openat2 a/b: ENOENT, mkdirat a: EEXIST, openat2 a, mkdirat b, openat2 a/b",
		},
		{
			"a parent that dangles leaves the rest to the runtime", dir,
			answers{"openat2 a/b": {missing, missing, 0}, "openat2 a": {missing}},
			"openat2 a/b: ENOENT, mkdirat a, openat2 a: ENOENT, openat2 a/b: ENOENT, write, read, openat2 a/b",
		},

		{"the first program of PATH", program, answers{"openat /one/sh": {unix.ENOTDIR}}, "faccessat2 /one/sh, openat /one/sh: ENOTDIR, choose /one/sh"},
		{
			"an empty word of PATH is the working directory", program,
			answers{"faccessat2 /one/sh": {missing}, "openat ./sh": {unix.ENOTDIR}},
			"faccessat2 /one/sh: ENOENT, faccessat2 ./sh, openat ./sh: ENOTDIR, choose ./sh",
		},
		{
			"a directory and what may not be executed are passed over", program,
			answers{"faccessat2 ./sh": {unix.EACCES}, "openat /two/sh": {unix.ENOTDIR}},
			"faccessat2 /one/sh, openat /one/sh, faccessat2 ./sh: EACCES, faccessat2 /two/sh, openat /two/sh: ENOTDIR, choose /two/sh",
		},
		{
			"a program that PATH does not have", program,
			answers{"faccessat2 /one/sh": {missing}, "faccessat2 ./sh": {missing}, "faccessat2 /two/sh": {missing}, "faccessat2": {missing}},
			"faccessat2 /one/sh: ENOENT, faccessat2 ./sh: ENOENT, faccessat2 /two/sh: ENOENT, faccessat2 fails: ENOENT",
		},
		{"a program by its path", byPath, answers{"openat ./sh": {unix.ENOTDIR}}, "openat ./sh: ENOTDIR, faccessat2 ./sh, choose ./sh"},
		{"a directory is no program", byPath, answers{"openat ./sh": {0, unix.EISDIR}}, "openat ./sh, openat ./sh fails: EISDIR"},
		{"a missing program", byPath, answers{"openat ./sh": {missing}, "faccessat2 ./sh": {missing}}, "openat ./sh: ENOENT, faccessat2 ./sh fails: ENOENT"},

		{"a cgroup that only tracks may be missed", &plan.JoinCgroups{Hierarchies: []string{"systemd"}, MayFail: true}, answers{"write 0": {unix.EACCES}}, "write 0: EACCES"},
		{"one with limits may not", &plan.JoinCgroups{Hierarchies: []string{"memory"}}, answers{"write 0": {unix.EACCES}}, "write 0 fails: EACCES"},
		{
			"cgroup2 that can't be mounted is bound", &plan.CgroupMount{Destination: "/c", Fallback: "/cg/own"},
			answers{"mount cgroup": {unix.EPERM}},
			"openat2 c, fchdir, mount cgroup: EPERM, open_tree /cg/own, move_mount",
		},
		{"cgroup2 that can be mounted is not", &plan.CgroupMount{Destination: "/c", Fallback: "/cg/own"}, nil, "openat2 c, fchdir, mount cgroup"},
		{"the old root is let go of", &plan.PivotRoot{}, nil, "fchdir, openat2 /, pivot_root ., fchdir, mount ., umount2 ., chdir /"},
		{"without a mount namespace there is chroot", &plan.Chroot{Rootfs: "/b"}, nil, "openat2 /b, fchdir, chroot ., chdir /"},
		{"there may be nothing to fall back to", &plan.CgroupMount{Destination: "/c"}, answers{"mount cgroup": {unix.EPERM}}, "openat2 c, fchdir, mount cgroup fails: EPERM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(follow(t, c.do, c.given), ", "); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
		})
	}
}
