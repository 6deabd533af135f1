package host

import "golang.org/x/sys/unix"

// resctrlRoot is where the kernel makes a directory for the file system.
const resctrlRoot = "/sys/fs/resctrl"

// Resctrl finds the mounted resctrl file system, "" when there is none. It is no part of
// Probe: only a config with linux.intelRdt needs it.
func Resctrl() (string, error) {
	var st unix.Statfs_t
	if unix.Statfs(resctrlRoot, &st) == nil && st.Type == unix.RDTGROUP_SUPER_MAGIC {
		return resctrlRoot, nil
	}
	mounts, err := Mounts()
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.Type == "resctrl" {
			return m.Point, nil
		}
	}
	return "", nil
}
