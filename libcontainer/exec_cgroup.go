package libcontainer

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/systemd"
)

// cgroupFacts tells from the container's cgroups what the plan must know of the machine's.
func cgroupFacts(paths []state.CgroupPath) host.Cgroup {
	c := host.Cgroup{Mode: host.CgroupNone}
	for _, p := range paths {
		h := host.Hierarchy{Name: p.Hierarchy}
		switch {
		case p.Hierarchy != "":
			h.Controllers = strings.Split(p.Hierarchy, ",")
			c.Mode = host.CgroupHybrid
		case c.Mode == host.CgroupNone:
			c.Mode = host.CgroupV2
		}
		c.Hierarchies = append(c.Hierarchies, h)
	}
	return c
}

// cgroups are those that the process joins: the container's, or directories below them
// that --cgroup names as PATH (all hierarchies) or CONTROLLER[,CONTROLLER]:PATH.
func (e *execution) cgroups() (*cgroup.Set, error) {
	paths := slices.Clone(e.st.CgroupPaths)
	for _, arg := range e.o.CgroupPaths {
		controllers, sub, ok := strings.Cut(arg, ":")
		if !ok {
			controllers, sub = "", arg
		}
		found := false
		for i := range paths {
			if controllers == "" || matchesControllers(paths[i].Hierarchy, controllers) {
				below, err := subCgroup(e.st.CgroupPaths[i].Path, sub)
				if err != nil {
					return nil, err
				}
				paths[i].Path, found = below, true
			}
		}
		if !found {
			return nil, fault.Usage.Of("--cgroup", fmt.Errorf("--cgroup %q: unknown controller %s: the container has no cgroup for it", arg, controllers))
		}
	}
	return cgroup.FromState(paths), nil
}

// matchesControllers reports whether a hierarchy holds one of the named controllers.
func matchesControllers(hierarchy, controllers string) bool {
	for c := range strings.SplitSeq(controllers, ",") {
		if slices.Contains(strings.Split(hierarchy, ","), c) {
			return true
		}
	}
	return false
}

// subCgroup is a directory below the container's cgroup; one beside it whose name only
// begins alike is not (runc#5457).
func subCgroup(dir, sub string) (string, error) {
	below := path.Join(dir, sub)
	if below != dir && !strings.HasPrefix(below, dir+"/") {
		return "", fault.Usage.Atf("--cgroup", "bad sub cgroup path %s", sub)
	}
	return below, nil
}

// cgroupDir opens the v2 cgroup that the process is born in.
func (e *execution) cgroupDir() (int, error) {
	fd, err := e.set.DirFD()
	return fd, e.cgroupError(err)
}

// cgroupProcs opens cgroup.procs of the cgroups that the process joins.
func (e *execution) cgroupProcs(hierarchies []string) (map[string]int, error) {
	procs, err := procsOf(e.set, hierarchies)
	return procs, e.cgroupError(err)
}

// cgroupError names what asked for a cgroup that can't be had.
func (e *execution) cgroupError(err error) error {
	switch {
	case err == nil:
		return nil
	case len(e.o.CgroupPaths) > 0:
		return fault.CgroupFailed.Atf("--cgroup", "adding pid of the process to cgroups: %w", err)
	}
	return fault.CgroupFailed.At("linux.cgroupsPath", err)
}

// initCgroup opens the cgroup of the container's first process, for a container that has
// distributed its own: a v2 cgroup that hands on controllers can't have processes, and the
// kernel answers EBUSY. There is no other place than what --cgroup names.
func (e *execution) initCgroup(refused unix.Errno) (int, error) {
	switch {
	case len(e.o.CgroupPaths) > 0:
		return -1, e.cgroupError(refused)
	case refused != unix.EBUSY:
		return -1, refused
	}
	own, err := host.UnifiedCgroup(e.st.Init.PID)
	if err != nil {
		return -1, err
	}
	mount := cgroup.MountOf(e.set.Paths()[0].Path)
	return cgroup.FromState([]state.CgroupPath{{Path: path.Join(mount, own)}}).DirFD()
}

// attachment tells whether systemd must move the process, and where: a user may move one
// only below a cgroup of its own, and whoever logged in stands outside of the one that the
// user's manager has.
func (e *execution) attachment() (*plan.AttachToUnit, error) {
	if !e.st.UserUnit || len(e.set.Paths()) == 0 {
		return nil, nil //nolint:nilnil // the ordinary way is open
	}
	own, err := host.UnifiedCgroup(unix.Getpid())
	if err != nil {
		return nil, err
	}
	top := e.st.CgroupPaths[0].Path
	target := e.set.Paths()[0].Path
	mount := cgroup.MountOf(top)
	if unix.Access(path.Join(commonDir(path.Join(mount, own), target), "cgroup.procs"), unix.W_OK) == nil {
		return nil, nil //nolint:nilnil // as above
	}
	if len(e.o.CgroupPaths) == 0 {
		// Where the first process is, for the reason that initCgroup has.
		if at, err := host.UnifiedCgroup(e.st.Init.PID); err == nil {
			target = path.Join(mount, at)
		}
	}
	a := &plan.AttachToUnit{Unit: e.st.Unit, User: e.st.UserUnit}
	if sub, ok := strings.CutPrefix(target, top+"/"); ok {
		a.Sub = "/" + sub
	}
	return a, nil
}

// commonDir is the lowest directory that has both below it, or is one of them.
func commonDir(a, b string) string {
	for !strings.HasPrefix(b+"/", strings.TrimSuffix(a, "/")+"/") {
		a = path.Dir(a)
	}
	return a
}

func attachToUnit(a *plan.AttachToUnit, pid int) error {
	m, err := systemd.Open(a.User)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Attach(a.Unit, a.Sub, pid)
}
