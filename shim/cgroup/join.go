package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gantry-containers/gantry/shim/mountinfo"
)

// Join moves a process into the cgroup of this name, which must be there, in every hierarchy.
func Join(name string, pid int) error { return join(name, pid, mountinfo.Self) }

func join(name string, pid int, mounts string) error {
	if !strings.HasPrefix(name, "/") || slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("cgroup %q: not an absolute path without parent directories", name)
	}
	mounted, err := hierarchies(mounts)
	if err != nil {
		return err
	}
	joined := false
	for _, h := range mounted {
		err := addProcess(h.point+name, pid)
		switch {
		case err == nil:
			joined = true
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("join cgroup %s: %w", name, err)
		}
	}
	if !joined {
		return fmt.Errorf("join cgroup %s: in no mounted hierarchy: %w", name, fs.ErrNotExist)
	}
	return nil
}

// addProcess moves a process into the cgroup of a directory.
func addProcess(dir string, pid int) error {
	f, err := os.OpenFile(dir+"/cgroup.procs", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(pid))
	return err
}
