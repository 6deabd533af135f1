// Package resctrl keeps a container in a class of service of the resctrl file system
// (Intel RDT), Documentation/filesystems/resctrl.rst and config-linux.md "IntelRdt". What
// is to be done comes from package plan.
package resctrl

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

const (
	schemataFile = "schemata"
	tasksFile    = "tasks"
)

// Error is a refused operation on resctrl.
type Error struct {
	Op   string
	Path string
	// Status is what the kernel says of its reasons in info/last_cmd_status; "" for nothing.
	Status string
	Err    error // a unix.Errno
}

func (e *Error) Error() string {
	if e.Status != "" {
		return e.Op + " " + e.Path + ": " + e.Status + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Path + ": " + e.Err.Error()
}

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Err }

// MismatchError says that a class of service has another schema than the one asked for.
type MismatchError struct {
	Group, Want string
}

func (e *MismatchError) Error() string {
	return "resctrl group " + e.Group + " exists and its schemata do not agree with " + strconv.Quote(e.Want)
}

// Tree is a mounted resctrl file system.
type Tree struct {
	root  string
	mkdir func(dir string) error
}

// At is the file system mounted at root.
func At(root string) *Tree {
	return &Tree{root: root, mkdir: func(dir string) error { return unix.Mkdir(dir, 0o755) }}
}

// Make makes what is missing of the class and the monitoring group. What it returns is to be
// kept with the container, also with an error: Remove takes it back.
func (t *Tree) Make(a *plan.MakeResctrlGroup) (state.IntelRdt, error) {
	place := state.IntelRdt{Root: t.root, Group: a.Dir()}
	if err := t.makeGroup(a, &place); err != nil {
		return place, err
	}
	monitor := a.MonitorDir()
	if monitor == "" {
		return place, nil
	}
	// One by that name is left of a container of that id.
	if err := t.mkdir(monitor); err != nil && err != unix.EEXIST {
		return place, t.fail("mkdir", monitor, err)
	}
	place.Monitor = monitor
	return place, nil
}

func (t *Tree) makeGroup(a *plan.MakeResctrlGroup, place *state.IntelRdt) error {
	dir := a.Dir()
	if !a.MustExist && a.Name != "" {
		err := t.mkdir(dir)
		if err == nil {
			place.Made = a.Own
			return nil
		}
		if err != unix.EEXIST {
			return t.fail("mkdir", dir, err)
		}
	}
	present, err := cgroup.ReadFile(dir, schemataFile)
	if err != nil {
		return err
	}
	for _, want := range a.Match {
		if !agrees(present, want) {
			return &MismatchError{Group: dir, Want: want}
		}
	}
	return nil
}

// Write writes lines to the schemata of a class.
func (t *Tree) Write(a *plan.WriteSchemata) error {
	return t.write(a.Group, schemataFile, strings.Join(a.Lines, "\n")+"\n")
}

// Join moves a process that has one thread.
func (t *Tree) Join(a *plan.JoinResctrlGroup, pid int) error {
	for _, dir := range []string{a.Group, a.Monitor} {
		if dir == "" {
			continue
		}
		if err := t.write(dir, tasksFile, strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes what was made for a container; what is gone already is fine.
func Remove(place *state.IntelRdt) error {
	dirs := []string{place.Monitor}
	if place.Made {
		dirs = append(dirs, place.Group)
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			return At(place.Root).fail("rmdir", dir, err)
		}
	}
	return nil
}

// write writes with one write(2), as the kernel wants it.
func (t *Tree) write(dir, file, value string) error {
	path := dir + "/" + file
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t.fail("open", path, err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return t.fail("write "+strings.TrimSpace(value)+" to", path, err)
		}
	}
}

// fail asks the kernel for its reasons before another operation replaces them.
func (t *Tree) fail(op, path string, err error) error {
	e := &Error{Op: op, Path: path, Err: err}
	status, statusErr := cgroup.ReadFile(t.root, "info/last_cmd_status")
	if statusErr == nil && status != "ok" {
		e.Status = strings.ReplaceAll(status, "\n", "; ")
	}
	return e
}
