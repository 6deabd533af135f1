package launch

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/procfs"
)

// TestRemountDoesWhatMountSetattrDoes changes the same mount in both ways and compares what
// statfs(2) says of it then. A kernel without mount_setattr(2) is asked for the result at once.
func TestRemountDoesWhatMountSetattrDoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	_, _, errno := unix.RawSyscall(unix.SYS_MOUNT_SETATTR, badFD, 0, 0)
	old := errno == unix.ENOSYS
	initial := []plan.MountFlag{
		0, plan.ReadOnly, plan.NoSuid | plan.NoDev | plan.NoExec, plan.NoAtime, plan.StrictAtime,
		plan.StrictAtime | plan.NoDirAtime, plan.NoAtime | plan.NoDirAtime | plan.NoSymFollow,
	}
	changes := []struct{ set, clr plan.MountFlag }{
		{plan.ReadOnly, 0},
		{0, plan.ReadOnly | plan.NoSuid},
		{plan.NoSuid | plan.NoDev | plan.NoExec, 0},
		{plan.ReadOnly, plan.NoExec},
		{plan.NoAtime, 0},
		{plan.RelAtime, 0},
		{plan.StrictAtime | plan.NoDirAtime, 0},
		{0, plan.NoAtime},
		{plan.NoDirAtime, 0},
		{0, plan.NoDirAtime},
		{plan.ReadOnly, plan.NoDirAtime},
		{plan.NoSymFollow, 0},
		{0, plan.NoSymFollow},
	}
	for _, before := range initial {
		for _, c := range changes {
			name := fmt.Sprint((&plan.MountFlags{Set: before}).String(), " then ", (&plan.MountFlags{Set: c.set, Clear: c.clr}).String())
			t.Run(name, func(t *testing.T) {
				want := uint64(0)
				if old { // a mount that has them from the beginning
					want = changedMount(t, false, combined(before, c.set, c.clr), 0, 0)
				} else {
					want = changedMount(t, false, before, c.set, c.clr)
				}
				if got := changedMount(t, true, before, c.set, c.clr); got != want {
					t.Errorf("flags of statfs are %#x, mount_setattr gives %#x", got, want)
				}
			})
		}
	}
}

// combined are the attributes of a mount after a change.
func combined(before, set, clr plan.MountFlag) plan.MountFlag {
	const modes = plan.NoAtime | plan.StrictAtime | plan.RelAtime
	if (set|clr)&modes != 0 {
		before &^= modes
	}
	return before&^clr | set
}

// changedMount mounts a tmpfs in a child with a mount namespace of its own, changes it, and
// returns its flags.
func changedMount(t *testing.T, byRemount bool, before, set, clr plan.MountFlag) uint64 {
	t.Helper()
	return mountAfter(t, byRemount, before, func(w *lowering) {
		if set|clr != 0 {
			w.changeMount(w.tree, set, clr)
		}
	})
}

// TestBindRemountDoesWhatBindFlagsDo compares in the same way what the options of binds mean.
func TestBindRemountDoesWhatBindFlagsDo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_MOUNT_SETATTR, badFD, 0, 0); errno == unix.ENOSYS {
		t.Skip("needs mount_setattr(2) to compare with")
	}
	for _, before := range []plan.MountFlag{
		0, plan.ReadOnly | plan.NoSuid, plan.StrictAtime | plan.NoDirAtime, plan.NoAtime | plan.NoExec | plan.NoSymFollow,
	} {
		for _, f := range []plan.MountFlags{
			{Set: plan.ReadOnly},
			{Clear: plan.ReadOnly},
			{Set: plan.NoDev, Clear: plan.NoSuid},
			{Set: plan.NoSymFollow},
			{Set: plan.NoAtime},
			{Set: plan.StrictAtime | plan.ReadOnly},
			{Set: plan.RelAtime},
			{Set: plan.NoDirAtime},
			{Clear: plan.NoAtime},
		} {
			name := fmt.Sprint((&plan.MountFlags{Set: before}).String(), " then ", f.String())
			t.Run(name, func(t *testing.T) {
				want := mountAfter(t, false, before, func(w *lowering) { w.bindFlags(&f) })
				if got := mountAfter(t, true, before, func(w *lowering) { w.bindRemount(&f) }); got != want {
					t.Errorf("flags of statfs are %#x, mount_setattr gives %#x", got, want)
				}
			})
		}
	}
}

// mountAfter is the flags of a mount that change is done to, in w.tree.
func mountAfter(t *testing.T, byRemount bool, before plan.MountFlag, change func(w *lowering)) uint64 {
	t.Helper()
	proc, err := procfs.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proc.Close() }()
	named, err := unix.FcntlInt(uintptr(proc.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(named)
	dir := t.TempDir()
	var flags slot
	r := replayProgram(t, 0, func(p *program) {
		w := &lowering{program: p, l: &Launch{procFS: proc.FD(), named: named}, byRemount: byRemount}
		w.tree = w.slot()
		w.call(unix.SYS_UNSHARE, unix.CLONE_NEWNS)
		w.call(unix.SYS_MOUNT, 0, "/", 0, unix.MS_PRIVATE|unix.MS_REC, 0)
		w.call(unix.SYS_MOUNT, "test", dir, "tmpfs", 0, 0)
		w.call(unix.SYS_MOUNT, 0, dir, 0, unix.MS_REMOUNT|unix.MS_BIND|mountFlagBits(before), 0) // not the file system's
		w.openat2(atFDCWD, dir, unix.O_PATH, 0).to(w.tree)
		change(w)
		w.call(unix.SYS_DUP3, w.tree, named, unix.O_CLOEXEC)
		flags, _ = w.mountStat()
		p.exit(0)
	})
	if r.status != 0 || len(r.reports) > 0 {
		t.Fatalf("status %d, reports %v", r.status, r.reports)
	}
	return r.arena.slot(flags)
}

// TestProcFSIsClosedBehindItsLastUse: it shows the host's processes.
func TestProcFSIsClosedBehindItsLastUse(t *testing.T) {
	used := 0
	golden(t, func(t *testing.T, w *lowered) {
		uses, closed := 0, false
		for i := range w.program.ops {
			s := w.stepAt(uint32(i))
			if s.nr == opSet || s.in&1 != 0 || s.a[0] != uint64(w.l.procFS) {
				continue
			}
			switch {
			case s.nr == unix.SYS_CLOSE:
				closed = true
			case s.nr == unix.SYS_OPENAT2 || s.nr == unix.SYS_FCHDIR:
				uses++
				if closed {
					t.Errorf("%s: uses the procfs behind its end", w.at(i))
				}
			}
		}
		if closed != (uses > 0) {
			t.Errorf("%d uses of the procfs, closed: %v", uses, closed)
		}
		used += uses
	})
	if used == 0 {
		t.Error("no golden plan uses the procfs")
	}
}
