package external

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Verify makes sure, before anything in a restored container runs, that every external
// mount is where it was, shows its source, and lacks no protection that config.json asks
// for; with readonlyRoot the same of the root. Whatever misled CRIU is found out here.
func Verify(pid int, sources []Source, readonlyRoot bool) error {
	root, err := openRoot(pid)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if readonlyRoot {
		if err := checkFlags(root, plan.ReadOnly); err != nil {
			return fault.At("root.readonly", err)
		}
	}
	for i := range sources {
		if err := sources[i].verify(root); err != nil {
			return fmt.Errorf("the restored mount on %s is not what config.json asks for: %w", sources[i].Point, err)
		}
	}
	return nil
}

func (s *Source) verify(root int) error {
	fd, err := inroot.OpenNoLinks(root, inroot.Path(s.Point), unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !isMountRoot(fd) {
		return fmt.Errorf("nothing is mounted there: %w", unix.EINVAL)
	}
	same, err := s.shownBy(fd)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("it does not show %s: %w", s.Path(), unix.EXDEV)
	}
	return checkFlags(fd, s.flags)
}

// checkFlags makes sure that the mount of a descriptor has what protects from it.
func checkFlags(fd int, want plan.MountFlag) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("fstatfs: %w", err)
	}
	for _, f := range [...]struct {
		flag plan.MountFlag
		bit  int64
		name string
	}{
		{plan.ReadOnly, unix.ST_RDONLY, "ro"},
		{plan.NoSuid, unix.ST_NOSUID, "nosuid"},
		{plan.NoDev, unix.ST_NODEV, "nodev"},
		{plan.NoExec, unix.ST_NOEXEC, "noexec"},
	} {
		if want&f.flag != 0 && fs.Flags&f.bit == 0 {
			return fmt.Errorf("it is not %s: %w", f.name, unix.EACCES)
		}
	}
	return nil
}
