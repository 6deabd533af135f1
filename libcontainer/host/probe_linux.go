package host

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/internal/nofile"
)

// Inode numbers of the initial namespaces in /proc/PID/ns, fixed by the kernel since
// Linux 3.8: PROC_USER_INIT_INO and PROC_CGROUP_INIT_INO of include/linux/proc_ns.h,
// user space API since 6.18 (uapi/linux/nsfs.h).
const (
	userInitIno   = 0xEFFFFFFD
	cgroupInitIno = 0xEFFFFFFB
)

// lastCapGuess is CAP_CHECKPOINT_RESTORE, the newest capability when this was written.
const lastCapGuess = 40

// Probe asks the running kernel for the facts. The error names the file or call that
// didn't answer.
func Probe() (*Facts, error) {
	f, err := ProbeSelf()
	if err != nil {
		return nil, err
	}
	if f.Cgroup, err = probeCgroup(); err != nil {
		return nil, err
	}
	return f, nil
}

// ProbeSelf is Probe without Cgroup, which is most of its cost: for a command that knows
// the container's cgroups from its state.
func ProbeSelf() (*Facts, error) {
	f := &Facts{UID: uint32(unix.Geteuid()), GID: uint32(unix.Getegid()), LastCap: lastCap()}
	var err error
	if f.Kernel, err = kernelVersion(); err != nil {
		return nil, err
	}
	initial, err := inInitialNS("/proc/self/ns/user", userInitIno)
	if err != nil {
		return nil, err
	}
	if f.UserNS = !initial; f.UserNS {
		denied, err := readFile("/proc/self/setgroups")
		f.NoSetgroups = err == nil && bytes.HasPrefix(denied, []byte("deny"))
	}
	if f.NoFile, err = inheritedNoFile(); err != nil {
		return nil, err
	}
	return f, nil
}

// CheckKernel refuses to go on under a kernel older than 5.10, wrapping ErrKernel, before
// anything else is asked of it.
func CheckKernel() error {
	v, err := kernelVersion()
	if err != nil {
		return err
	}
	return (&Facts{Kernel: v}).CheckKernel()
}

func kernelVersion() (Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Version{}, fmt.Errorf("uname: %w", err)
	}
	release, _, _ := bytes.Cut(u.Release[:], []byte{0})
	v, ok := parseVersion(release)
	if !ok {
		return Version{}, fmt.Errorf("uname: release %q has no version number", release)
	}
	return v, nil
}

// inInitialNS reports whether the namespace file is the initial namespace of its kind.
// A kernel built without that kind has no file and only the initial namespace.
func inInitialNS(path string, ino uint64) (bool, error) {
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); err {
	case nil:
		return st.Ino == ino, nil
	case unix.ENOENT:
		return true, nil
	default:
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
}

// lastCap searches the highest capability from the newest one known. PR_CAPBSET_READ
// answers EINVAL beyond the kernel's last one, PR_CAPBSET_READ(2const); unlike
// /proc/sys/kernel/cap_last_cap it needs no file.
func lastCap() int {
	known := func(c int) bool {
		_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		return err == nil
	}
	c := lastCapGuess
	for c < 63 && known(c+1) {
		c++
	}
	for c > 0 && !known(c) {
		c--
	}
	return c
}

// inheritedNoFile falls back to the present limit where the start-up could not ask.
func inheritedNoFile() (Rlimit, error) {
	if soft, hard, ok := nofile.Inherited(); ok {
		return Rlimit{soft, hard}, nil
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return Rlimit{}, fmt.Errorf("getrlimit RLIMIT_NOFILE: %w", err)
	}
	return Rlimit{l.Cur, l.Max}, nil
}

// readFile returns all of a small file of procfs or cgroupfs, which report no size.
func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
	}
}
