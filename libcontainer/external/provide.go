package external

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/inroot"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// Source is an external mount of the images with its source on this host.
type Source struct {
	Mount
	top   string         // what config.json names
	flags plan.MountFlag // what config.json asks of it
}

// Path is the source's path on this host.
func (s *Source) Path() string {
	if s.Below == "" {
		return s.top
	}
	return s.top + "/" + s.Below
}

// Sources finds the sources of the external mounts in the plan of the new container.
func Sources(mounts []Mount, p *plan.Plan) ([]Source, error) {
	all := wantedBy(p)
	var sources []Source
	for i := range mounts {
		m := mounts[i]
		if m.Kind == "" {
			continue
		}
		w := find(all, &m)
		if w == nil {
			return nil, fmt.Errorf("config.json has no mount on %s, but the container had when it was dumped", m.Name)
		}
		s := Source{Mount: m, top: w.source, flags: w.flags}
		if m.Below != "" {
			s.flags = w.recFlags
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// open opens the source. What came along with a recursive bind must be a mount of the host
// still, with no link on the way: the directory above may be the container's to write.
func (s *Source) open() (int, error) {
	top, err := unix.Open(s.top, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", s.top, err)
	}
	if s.Below == "" {
		return top, nil
	}
	defer unix.Close(top)
	fd, err := inroot.OpenNoLinks(top, inroot.Path(s.Below), unix.O_PATH)
	if err != nil {
		return -1, fmt.Errorf("below %s: %w", s.top, err)
	}
	if !isMountRoot(fd) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s: nothing is mounted there, but was when the container was dumped: %w", s.Path(), unix.EINVAL)
	}
	return fd, nil
}

func isMountRoot(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// shownBy reports whether a descriptor in the container is of the source's very file.
func (s *Source) shownBy(fd int) (bool, error) {
	source, err := s.open()
	if err != nil {
		return false, err
	}
	defer unix.Close(source)
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(source, &a), unix.Fstat(fd, &b)); err != nil {
		return false, fmt.Errorf("fstat: %w", err)
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// find returns the last one of the name, which is the one in sight.
func find(all []wanted, m *Mount) *wanted {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == m.Kind && (all[i].Name == m.Name || m.Kind == Null) {
			return &all[i]
		}
	}
	return nil
}

// MakeTargets makes sure of the sources, and makes the mount points that CRIU will look for
// in the root, where they are missing: those that are not on another mount. CRIU goes to
// them by name, so no symlink may be on the way.
func MakeTargets(root int, mounts []Mount, sources []Source) error {
	for i := range sources {
		if err := sources[i].check(); err != nil {
			return err
		}
	}
	for i := range mounts {
		m := &mounts[i]
		if nested(mounts, m.Point) {
			continue
		}
		err := checkTarget(root, m)
		if errors.Is(err, unix.ENOENT) {
			err = makeTarget(root, m, sources)
		}
		if err != nil {
			return fmt.Errorf("mount target: %w", err)
		}
	}
	return nil
}

func checkTarget(root int, m *Mount) error {
	fd, err := inroot.OpenNoLinks(root, inroot.Path(m.Point), unix.O_PATH)
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s is behind a symlink, but was not when the container was dumped: %w", m.Point, unix.ELOOP)
	}
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func makeTarget(root int, m *Mount, sources []Source) error {
	isDir, err := wantsDir(m, sources)
	if err != nil {
		return err
	}
	if isDir {
		err = inroot.MakeDir(root, inroot.Path(m.Point))
	} else {
		err = inroot.MakeFile(root, inroot.Path(m.Point))
	}
	if err != nil {
		return err
	}
	return checkTarget(root, m) // somebody may have been there in between
}

// nested reports whether the point lies on one of the mounts.
func nested(mounts []Mount, point string) bool {
	for i := range mounts {
		if _, under := below(mounts[i].Point, point); under {
			return true
		}
	}
	return false
}

func wantsDir(m *Mount, sources []Source) (bool, error) {
	for i := range sources {
		if sources[i].Point != m.Point {
			continue
		}
		fd, err := sources[i].open()
		if err != nil {
			return false, err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return false, fmt.Errorf("fstat: %w", err)
		}
		return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
	}
	return true, nil
}

// check makes sure that there is a source.
func (s *Source) check() error {
	fd, err := s.open()
	if err != nil {
		return fmt.Errorf("mount on %s: %w", s.Point, err)
	}
	return unix.Close(fd)
}
