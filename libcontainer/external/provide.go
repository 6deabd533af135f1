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
	Path  string
	flags plan.MountFlag // what config.json asks of it
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
		s := Source{Mount: m, Path: w.source, flags: w.flags}
		if m.Below != "" {
			s.Path, s.flags = w.source+"/"+m.Below, w.recFlags
		}
		sources = append(sources, s)
	}
	return sources, nil
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

// MakeTargets makes the mount points that CRIU will look for in the root, where they are
// missing: those that are not on another mount. CRIU goes to them by name, so no symlink
// may be on the way.
func MakeTargets(root int, mounts []Mount, sources []Source) error {
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
		var st unix.Stat_t
		if err := unix.Stat(sources[i].Path, &st); err != nil {
			return false, fmt.Errorf("mount on %s: stat %s: %w", m.Name, sources[i].Path, err)
		}
		return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
	}
	return true, nil
}
