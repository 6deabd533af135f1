package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/moby/sys/capability"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"
)

// initName is the program that is a container's init. Others of its kind are often linked to libraries, which a
// container does not have.
const initName = "docker-init"

// Probe finds the facts. It is cheap, and meant to be called once: they do not change while the machine is up.
func Probe() (Facts, error) {
	f := Facts{
		CgroupV2:          cgroups.Mode() == cgroups.Unified,
		AppArmor:          appArmor(),
		SELinux:           selinux.GetEnabled(),
		Seccomp:           unix.Prctl(unix.PR_GET_SECCOMP, 0, 0, 0, 0) == nil,
		CgroupNamespace:   exists("/proc/self/ns/cgroup"),
		TimeNamespace:     exists("/proc/self/ns/time"),
		UserNamespace:     userns.RunningInUserNS(),
		RecursiveReadOnly: mountSetattr(),
		PingGroupRange:    exists("/proc/sys/net/ipv4/ping_group_range"),
		UnprivilegedPorts: exists("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
		IPForward:         firstLine("/proc/sys/net/ipv4/ip_forward") == "1",
		ThermalThrottle:   thermal("/sys/devices/system/cpu"),
		CPUs:              runtime.NumCPU(),
		InitPath:          FindInit(initName),
	}
	f.SystemdCgroup = f.CgroupV2 && isDir("/run/systemd/system")
	var err error
	if f.Capabilities, err = bounding(); err != nil {
		return Facts{}, fmt.Errorf("capabilities of this process: %w", err)
	}
	var un unix.Utsname
	if err := unix.Uname(&un); err != nil {
		return Facts{}, fmt.Errorf("uname: %w", err)
	}
	f.KernelVersion = unix.ByteSliceToString(un.Release[:])
	if f.Memory, err = memory("/proc/meminfo"); err != nil {
		return Facts{}, err
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return Facts{}, fmt.Errorf("limit of open files: %w", err)
	}
	if lim.Max != unix.RLIM_INFINITY {
		f.MaxNoFile = lim.Max
	}
	if f.CgroupV2 {
		f.probeV2(unified)
	} else {
		mounts, err := v1Mounts()
		if err != nil {
			return Facts{}, err
		}
		f.probeV1(mounts)
	}
	return f, nil
}

// bounding is the set of capabilities that a process of ours may ever have.
func bounding() ([]string, error) {
	all, err := capability.ListSupported()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range all {
		in, err := capability.GetBound(c)
		if err != nil {
			return nil, err
		}
		if in {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return names, nil
}

// appArmor says that the module is on and that we may see what it has loaded.
func appArmor() bool {
	_, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	return err == nil
}

// mountSetattr asks the kernel for the call by one that it must refuse.
func mountSetattr() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
}

// thermal lists the folders that tell the heat of CPUs.
func thermal(dir string) []string {
	var found []string
	for _, n := range Numbers(firstLine(filepath.Join(dir, "possible"))) {
		if p := filepath.Join(dir, "cpu"+strconv.Itoa(n), "thermal_throttle"); exists(p) {
			found = append(found, p)
		}
	}
	return found
}

// FindInit finds an init by its path or name: where packages put such programs, then in PATH, then beside this program.
// It is empty when there is none.
func FindInit(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	dirs := []string{"/usr/local/libexec/docker", "/usr/libexec/docker", "/usr/local/lib/docker", "/usr/lib/docker", "/usr/local/libexec", "/usr/libexec"}
	for _, dir := range dirs {
		if p := filepath.Join(dir, name); executable(p) {
			return p
		}
	}
	if p, err := exec.LookPath(name); err == nil && filepath.IsAbs(p) {
		return p
	}
	if self, err := os.Executable(); err == nil {
		if p := filepath.Join(filepath.Dir(self), name); executable(p) {
			return p
		}
	}
	return ""
}

// memory is MemTotal in bytes.
func memory(meminfo string) (int64, error) {
	b, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", meminfo, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s: no MemTotal", meminfo)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// firstLine is what a small file of the kernel says; empty when it cannot be read.
func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// Numbers reads a list of the kernel's ("0-2,7"). What is no number is left out, and so is all above 8192: no machine
// has more CPUs, and a list may come from elsewhere.
func Numbers(list string) []int {
	const highest = 8192
	var all []int
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		for n := from; n <= min(to, highest); n++ {
			all = append(all, n)
		}
	}
	return all
}
