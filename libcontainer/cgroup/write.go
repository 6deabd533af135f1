package cgroup

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// LeftOutError says that a limit was asked for in a hierarchy where the container
// could not get a cgroup.
type LeftOutError struct {
	Controller string
}

func (e *LeftOutError) Error() string {
	return "cannot set " + e.Controller + " limit: container could not join or create cgroup"
}

// Write writes one file of the container's cgroup. A refusal is a *FileError with
// the errno; a hierarchy without a cgroup of the container is a *LeftOutError.
//
// With MayMiss it is no error that the kernel has no such file, or has it only to
// refuse every write (EOPNOTSUPP, as memory.kmem.limit_in_bytes since Linux 5.16).
func (s *Set) Write(w *plan.WriteCgroup) error {
	controller, _, _ := strings.Cut(w.File, ".")
	g := s.named(w.Hierarchy)
	if g == nil {
		return &LeftOutError{Controller: controller}
	}
	err := writeFile(g.dir, w.File, w.Value)
	if err == nil {
		return nil
	}
	if w.MayMiss && errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// A file of a v2 controller that nobody turned on looks just like one that the
	// kernel lacks.
	if g.hierarchy == "" && controller != "cgroup" && !g.has(controller) {
		if err := enable(g.dir, controller); err != nil {
			if w.MayMiss {
				return nil
			}
			return err
		}
		if err = writeFile(g.dir, w.File, w.Value); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if file, value := alternative(w); file != "" {
		if other := writeFile(g.dir, file, value); !errors.Is(other, unix.ENOENT) {
			return other
		}
	}
	if w.MayMiss {
		return nil
	}
	return err
}

// has reports whether the controller is on in the v2 cgroup.
func (g *group) has(controller string) bool {
	list, err := readFile(g.dir, controllersFile)
	if err != nil {
		return false
	}
	for name := range strings.FieldsSeq(list) {
		if name == controller {
			return true
		}
	}
	return false
}

// alternative names the file that does the work of a missing one. Only the running
// kernel knows which I/O schedulers are loaded, so the plan can't choose.
func alternative(w *plan.WriteCgroup) (file, value string) {
	switch w.File {
	case "blkio.weight":
		return "blkio.bfq.weight", w.Value
	case "blkio.weight_device":
		return "blkio.bfq.weight_device", w.Value
	case "io.bfq.weight":
		return "io.weight", ioWeight(w.Value)
	}
	return "", ""
}

// ioWeight turns the weight at the end of value from the scale of bfq, 10 to 1000,
// to that of io.weight, 1 to 10000. A device number before it is kept.
func ioWeight(value string) string {
	start := strings.LastIndexByte(value, ' ') + 1
	weight, err := strconv.ParseUint(value[start:], 10, 16)
	if err != nil || weight < 10 {
		return value
	}
	return value[:start] + strconv.FormatUint(plan.IOWeight(weight), 10)
}
