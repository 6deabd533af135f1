package cgroup

import "golang.org/x/sys/unix"

// fillCpuset gives a v1 cpuset cgroup CPUs and memory nodes: a new one has none
// and takes no process, Documentation/admin-guide/cgroup-v1/cpusets.rst §1.3. The
// values come from the nearest ancestor that has them, which must hand them down
// through every directory between.
func fillCpuset(mount, dir string) error {
	for _, file := range [...]string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := inherit(mount, dir, file); err != nil {
			return err
		}
	}
	return nil
}

// inherit returns dir's value of the file, after copying it from the parent when
// it was empty.
func inherit(mount, dir, file string) (string, error) {
	value, err := readFile(dir, file)
	if err != nil || value != "" {
		return value, err
	}
	if len(dir) <= len(mount) {
		return "", &FileError{Op: "inherit from", Path: dir + "/" + file, Err: unix.ENODATA}
	}
	value, err = inherit(mount, parentOf(dir), file)
	if err != nil {
		return "", err
	}
	return value, writeFile(dir, file, value)
}
