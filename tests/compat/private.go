package compat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// privateVar is set where Private has done its work.
const privateVar = "GANTRY_COMPAT_PRIVATE"

// Private gives the whole test process a mount and a network namespace of its own, for
// clients that write outside the folders they are told (/run/libpod, /var/cache/containers,
// firewall rules): /run and /dev/shm are empty there, what is written to /etc and /var goes
// to memory, the network is a loopback device, and beside the hierarchies of cgroup v1 is
// nothing. Call it first in TestMain; without root it does nothing.
func Private() error {
	if os.Geteuid() != 0 || os.Getenv(privateVar) != "" {
		return nil
	}
	// execve(2) makes the process one of this thread's namespaces alone.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := furnish(); err != nil {
		return err
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), privateVar+"=1"))
	return fmt.Errorf("execve: %w", err)
}

// furnish makes the mounts, and takes the network up.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	if err := dropForeignCgroups(); err != nil {
		return err
	}
	if err := emptyRun(); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/var"} {
		if err := inMemory(dir); err != nil {
			return err
		}
	}
	if err := mountTmpfs("/dev/shm", "mode=1777"); err != nil {
		return err
	}
	if err := bareCgroups(); err != nil {
		return err
	}
	// As systemd mounts it: volumes and network namespaces want to be seen everywhere.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make / shared: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	return nil
}

// dropForeignCgroups unmounts what other containers have of the hierarchies: podman takes
// the first mount of a controller that it finds, and discards limits if that is no root.
func dropForeignCgroups() error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		at, kind, _ := strings.Cut(line, " - ")
		if f := strings.Fields(at); strings.HasPrefix(kind, "cgroup") && !strings.HasPrefix(f[4], "/sys/fs/cgroup") {
			points = append(points, f[4])
		}
	}
	for _, p := range slices.Backward(points) {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // it went with another
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// emptyRun keeps what clients of systemd need of /run.
func emptyRun() error {
	before, err := unix.Open("/run", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(before)
	if err := mountTmpfs("/run", "mode=755"); err != nil {
		return err
	}
	for _, name := range []string{"systemd", "dbus", "udev", "user"} {
		from, to := fmt.Sprintf("/proc/self/fd/%d/%s", before, name), filepath.Join("/run", name)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", to, err)
		}
	}
	return nil
}

// inMemory lays an overlay over a directory, whose upper layer is in /run.
func inMemory(dir string) error {
	upper, work := "/run/compat"+dir+"/upper", "/run/compat"+dir+"/work"
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay %s: %w", dir, err)
	}
	return nil
}

func mountTmpfs(dir, options string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("tmpfs %s: %w", dir, err)
	}
	return nil
}

// bareCgroups gives the tmpfs that v1 hierarchies are mounted in a copy without the plain
// directories that clients make in it for controllers that are not there, and closes it, as
// systemd does: one client's would be another's hierarchies.
func bareCgroups() error {
	const top, bare = "/sys/fs/cgroup", "/run/compat/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(top, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return err
	}
	if err := os.MkdirAll(bare, 0o755); err != nil {
		return err
	}
	if err := mountTmpfs(bare, "mode=755"); err != nil {
		return err
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyHierarchy(top+"/"+e.Name(), bare+"/"+e.Name(), st.Fsid); err != nil {
			return err
		}
	}
	if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", top, err)
	}
	if err := unix.Mount(bare, top, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s: %w", top, err)
	}
	if err := unix.Mount("", top, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", top, err)
	}
	return nil
}

// copyHierarchy binds a hierarchy, and copies a symlink to one; what is no mount is left out.
func copyHierarchy(from, to string, tmpfs unix.Fsid) error {
	if target, err := os.Readlink(from); err == nil {
		return os.Symlink(target, to)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(from, &st); err != nil || st.Type == unix.TMPFS_MAGIC && st.Fsid == tmpfs {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", to, err)
	}
	return nil
}
