package launch

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// TestMountFlags holds each flag of a plan to the kernel's two numbers for it: of mount(2),
// and of mount_setattr(2), where a flag of the file system has none.
func TestMountFlags(t *testing.T) {
	for _, c := range []struct {
		name      string
		flag      plan.MountFlag
		bit, attr uint64
		clears    uint64 // beside, or in place of, attr when it is cleared
	}{
		{"ro", plan.ReadOnly, unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{"nosuid", plan.NoSuid, unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{"nodev", plan.NoDev, unix.MS_NODEV, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NODEV},
		{"noexec", plan.NoExec, unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{"nodiratime", plan.NoDirAtime, unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
		{"nosymfollow", plan.NoSymFollow, unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
		{"noatime", plan.NoAtime, unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
		{"strictatime", plan.StrictAtime, unix.MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
		{"relatime", plan.RelAtime, unix.MS_RELATIME, unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
		{"sync", plan.FSSync, unix.MS_SYNCHRONOUS, 0, 0},
		{"dirsync", plan.FSDirSync, unix.MS_DIRSYNC, 0, 0},
		{"mand", plan.FSMandatoryLock, unix.MS_MANDLOCK, 0, 0},
		{"iversion", plan.FSVersion, unix.MS_I_VERSION, 0, 0},
		{"lazytime", plan.FSLazyTime, unix.MS_LAZYTIME, 0, 0},
		{"silent", plan.FSSilent, unix.MS_SILENT, 0, 0},
	} {
		if got := mountFlagBits(c.flag); got != c.bit {
			t.Errorf("%s: mount(2) gets %#x, want %#x", c.name, got, c.bit)
		}
		// The kernel demands that the whole field is cleared when one of its modes is set.
		atime := c.clears & unix.MOUNT_ATTR__ATIME
		if set, clr := mountAttr(c.flag, 0); set != c.attr || clr != atime {
			t.Errorf("%s: mount_setattr sets %#x and clears %#x, want %#x and %#x", c.name, set, clr, c.attr, atime)
		}
		if set, clr := mountAttr(0, c.flag); set != 0 || clr|c.attr&^atime != c.clears|c.attr&^atime || clr&c.clears == 0 && c.clears != 0 {
			t.Errorf("%s: cleared, mount_setattr sets %#x and clears %#x, want %#x", c.name, set, clr, c.clears)
		}
	}
	for flag := plan.ReadOnly; flag <= plan.FSSilent; flag <<= 1 {
		if mountFlagBits(flag) == 0 {
			t.Errorf("flag %#x has no bit for mount(2)", flag)
		}
	}
}

func TestPropagationBits(t *testing.T) {
	for p, want := range map[plan.Propagation]uint64{
		plan.Private: unix.MS_PRIVATE, plan.Slave: unix.MS_SLAVE, plan.Shared: unix.MS_SHARED, plan.Unbindable: unix.MS_UNBINDABLE,
		plan.RecPrivate: unix.MS_PRIVATE, plan.RecSlave: unix.MS_SLAVE, plan.RecShared: unix.MS_SHARED, plan.RecUnbindable: unix.MS_UNBINDABLE,
	} {
		if got := propagationBits(p); got != want {
			t.Errorf("%s is %#x, want %#x", p, got, want)
		}
	}
}

func TestNamespaceFlags(t *testing.T) {
	all := map[string]int{
		"pid": unix.CLONE_NEWPID, "network": unix.CLONE_NEWNET, "mount": unix.CLONE_NEWNS, "ipc": unix.CLONE_NEWIPC,
		"uts": unix.CLONE_NEWUTS, "user": unix.CLONE_NEWUSER, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
	}
	var kinds []string
	union := 0
	for kind, want := range all {
		kinds, union = append(kinds, kind), union|want
		if got := namespaceFlag(kind); got != want {
			t.Errorf("%s is %#x, want %#x", kind, got, want)
		}
	}
	if got := cloneFlags(kinds); got != union {
		t.Errorf("all are %#x, want %#x", got, union)
	}
}

// TestRlimitNumbers holds the names to asm-generic/resource.h; x/sys has but some of them.
func TestRlimitNumbers(t *testing.T) {
	for name, want := range map[string]int{
		"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
		"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
		"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
		"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
		"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
		"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
	} {
		if got := rlimitNumber(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestDeviceModes(t *testing.T) {
	for kind, want := range map[byte]int{'c': unix.S_IFCHR, 'b': unix.S_IFBLK, 'p': unix.S_IFIFO} {
		if got := deviceMode(&plan.MakeDevice{Device: plan.Device{Type: kind, Mode: 0o4640}}); got != want|0o4640 {
			t.Errorf("%c has mode %#o", kind, got)
		}
	}
}

func TestHasMode(t *testing.T) {
	for data, want := range map[string]bool{
		"": false, "mode=755": true, "size=1k,mode=700": true, "size=1k": false, "ptmxmode=0666": false, "newinstance,ptmxmode=0666": false,
	} {
		if got := hasMode(data); got != want {
			t.Errorf("%q: %v", data, got)
		}
	}
}

func TestRelative(t *testing.T) {
	for path, want := range map[string]string{"/": ".", "": ".", "/a/b": "a/b", "a": "a"} {
		if got := relative(path); got != want {
			t.Errorf("%q is %q below the root, want %q", path, got, want)
		}
	}
}
