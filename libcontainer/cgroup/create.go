package cgroup

import (
	"errors"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// dirMode is the mode of a new cgroup directory, before the umask.
const dirMode = 0o755

// NotEmptyError says that a cgroup meant for a new container has processes.
type NotEmptyError struct {
	Path      string // absolute
	Processes int
}

func (e *NotEmptyError) Error() string {
	return "container's cgroup is not empty: " + strconv.Itoa(e.Processes) + " process(es) found"
}

// ErrFrozen says that a cgroup meant for a new container is frozen: the container
// could not even start.
var ErrFrozen = errors.New("container's cgroup unexpectedly frozen")

// Create makes the container's cgroup and its missing parents in every hierarchy.
// One that exists already is taken over when it has no process (NotEmptyError)
// and is not frozen (ErrFrozen).
//
// With optional, a hierarchy where the caller may not make a cgroup is left out
// of the set. Hierarchies that only track processes (name=systemd, v2 beside v1)
// are always left out when their directory can't be made. Any other failure
// removes what was made.
func Create(cgs []plan.Cgroup, optional bool) (*Set, error) {
	s := &Set{groups: make([]group, 0, len(cgs))}
	var made []string
	for i := range cgs {
		c := &cgs[i]
		before := len(made)
		g, err := createOne(c, &made)
		if err != nil {
			undo(made[before:])
			made = made[:before]
			if optional && denied(err) || auxiliary(c, len(cgs)) && !occupied(err) {
				continue
			}
			undo(made)
			return nil, err
		}
		s.groups = append(s.groups, g)
	}
	if len(cgs) == 1 && len(s.groups) == 1 && cgs[0].Hierarchy == "" {
		enableAll(cgs[0].Mount, &s.groups[0])
	}
	return s, nil
}

// createOne makes the cgroup in one hierarchy and appends to made every directory
// that did not exist.
func createOne(c *plan.Cgroup, made *[]string) (group, error) {
	g := group{hierarchy: c.Hierarchy, dir: c.Dir()}
	before := len(*made)
	if err := mkdirChain(c.Mount, g.dir, made); err != nil {
		return g, err
	}
	g.fresh = len(*made) > before
	if !g.fresh {
		if err := g.checkVacant(); err != nil {
			return g, err
		}
	}
	if g.controls("cpuset") {
		if err := fillCpuset(c.Mount, g.dir); err != nil {
			return g, err
		}
	}
	return g, nil
}

// mkdirChain makes dir and its missing parents up to mount.
func mkdirChain(mount, dir string, made *[]string) error {
	err := mkdir(dir)
	if err == unix.ENOENT && len(dir) > len(mount) {
		if err := mkdirChain(mount, parentOf(dir), made); err != nil {
			return err
		}
		err = mkdir(dir)
	}
	switch err {
	case nil:
		*made = append(*made, dir)
		return nil
	case unix.EEXIST:
		return nil
	default:
		return &FileError{Op: "mkdir", Path: dir, Err: err}
	}
}

func mkdir(dir string) error {
	for {
		err := unix.Mkdir(dir, dirMode)
		if err != unix.EINTR {
			return err
		}
	}
}

// parentOf cuts the last component of a clean absolute path.
func parentOf(dir string) string {
	for i := len(dir) - 1; i > 0; i-- {
		if dir[i] == '/' {
			return dir[:i]
		}
	}
	return "/"
}

// undo removes the directories of a failed Create, the newest first.
func undo(made []string) {
	for _, dir := range slices.Backward(made) {
		_ = unix.Rmdir(dir)
	}
}

// checkVacant refuses a cgroup that is in use.
func (g *group) checkVacant() error {
	pids, err := appendPIDs(nil, g.dir)
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return &NotEmptyError{Path: g.dir, Processes: len(pids)}
	}
	frozen, err := g.frozen()
	if err != nil {
		return err
	}
	if frozen {
		return ErrFrozen
	}
	return nil
}

// occupied reports whether err came from checkVacant's verdict.
func occupied(err error) bool {
	var notEmpty *NotEmptyError
	return errors.As(err, &notEmpty) || errors.Is(err, ErrFrozen)
}
