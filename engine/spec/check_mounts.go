package spec

import (
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-containers/gantry/engine/host"
)

var propagations = []mount.Propagation{
	mount.PropagationPrivate, mount.PropagationRPrivate,
	mount.PropagationSlave, mount.PropagationRSlave,
	mount.PropagationShared, mount.PropagationRShared,
}

func checkMounts(all []mount.Mount) error {
	for _, m := range all {
		if err := checkMount(&m); err != nil {
			return invalid("invalid mount config for type %q: %w", m.Type, err)
		}
	}
	return nil
}

func checkMount(m *mount.Mount) error {
	if err := checkOptions(m); err != nil {
		return err
	}
	if m.Target == "" {
		return errors.New("field Target must not be empty")
	}
	if err := checkDestination(m.Target); err != nil {
		return err
	}
	switch m.Type {
	case mount.TypeBind:
		return checkBind(m)
	case mount.TypeVolume:
		if o := m.VolumeOptions; o != nil && o.Subpath != "" {
			if m.Source == "" {
				return errors.New("must not set Subpath when using anonymous volumes")
			}
			return checkSubpath(o.Subpath)
		}
	case mount.TypeTmpfs:
		if m.Source != "" {
			return errors.New("field Source must not be specified")
		}
		_, err := tmpfsOptions(m.TmpfsOptions, m.ReadOnly)
		return err
	case mount.TypeImage:
		if m.Source == "" {
			return errors.New("field Source must not be empty")
		}
		if o := m.ImageOptions; o != nil && o.Subpath != "" {
			return checkSubpath(o.Subpath)
		}
	default:
		return errors.New("mount type unknown")
	}
	return nil
}

// checkOptions says no to options of another type of mount.
func checkOptions(m *mount.Mount) error {
	for _, o := range []struct {
		of   mount.Type
		name string
		set  bool
	}{
		{mount.TypeBind, "BindOptions", m.BindOptions != nil},
		{mount.TypeVolume, "VolumeOptions", m.VolumeOptions != nil},
		{mount.TypeImage, "ImageOptions", m.ImageOptions != nil},
		{mount.TypeTmpfs, "TmpfsOptions", m.TmpfsOptions != nil},
		{mount.TypeCluster, "ClusterOptions", m.ClusterOptions != nil},
	} {
		if o.set && m.Type != o.of {
			return errors.New("field " + o.name + " must not be specified")
		}
	}
	return nil
}

func checkBind(m *mount.Mount) error {
	if m.Source == "" {
		return errors.New("field Source must not be empty")
	}
	o := m.BindOptions
	if o != nil && o.Propagation != "" && !slices.Contains(propagations, o.Propagation) {
		return errors.New("invalid propagation mode: " + string(o.Propagation))
	}
	if err := checkAbsolute(m.Source); err != nil {
		return err
	}
	there, err := host.Machine{}.Exists(m.Source)
	if err != nil {
		return err
	}
	if !there && (o == nil || !o.CreateMountpoint) {
		return errors.New("bind source path does not exist: " + m.Source)
	}
	return nil
}

// checkDestination says no to the root, and to what is no path from it.
func checkDestination(p string) error {
	if path.Clean(strings.ReplaceAll(p, `\`, "/")) == "/" {
		return errors.New("invalid specification: destination can't be '/'")
	}
	return checkAbsolute(p)
}

func checkAbsolute(p string) error {
	if p = strings.ReplaceAll(p, `\`, "/"); !path.IsAbs(p) {
		return errors.New("invalid mount path: '" + p + "' mount path must be absolute")
	}
	return nil
}

func checkSubpath(p string) error {
	if !filepath.IsLocal(p) {
		return errors.New("subpath must be a relative path within the volume")
	}
	return nil
}
