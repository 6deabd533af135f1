package mounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
)

// parseBind reads an element of Binds: "destination", "source:destination" or "source:destination:mode".
func parseBind(raw, driver string) (container.Mount, error) {
	invalid := fmt.Errorf("invalid volume specification: '%s'", raw)
	parts := strings.SplitN(raw, ":", 4)
	var spec mount.Mount
	var mode string
	switch {
	case parts[0] == "", len(parts) == 4, len(parts) == 2 && validMode(parts[1]):
		return container.Mount{}, invalid
	case len(parts) == 1:
		spec.Target = parts[0]
	case len(parts) == 2:
		spec.Source, spec.Target = parts[0], parts[1]
	default:
		spec.Source, spec.Target, mode = parts[0], parts[1], parts[2]
	}
	if !validMode(mode) {
		return container.Mount{}, fmt.Errorf("invalid mode: %v", mode)
	}
	spec.Type = mount.TypeVolume
	if path.IsAbs(spec.Source) {
		spec.Type = mount.TypeBind
	}
	spec.ReadOnly = hasMode(mode, "ro")
	applyMode(&spec, mode, driver)
	if err := check(spec, false); err != nil {
		return container.Mount{}, fmt.Errorf("%w: %w", invalid, err)
	}
	m := fromSpec(spec)
	m.Mode = mode
	if m.Type == mount.TypeBind {
		// A source that is missing is made, as it always was.
		if m.Spec.BindOptions == nil {
			m.Spec.BindOptions = &mount.BindOptions{}
		}
		m.Spec.BindOptions.CreateMountpoint = true
	}
	return m, nil
}

// applyMode writes what a mode says into the options of a mount.
func applyMode(spec *mount.Mount, mode, driver string) {
	if driver != "" && spec.Type == mount.TypeVolume {
		spec.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver}}
	}
	if hasMode(mode, "nocopy") {
		if spec.VolumeOptions == nil {
			spec.VolumeOptions = &mount.VolumeOptions{}
		}
		spec.VolumeOptions.NoCopy = true
	}
	if p := propagation(mode); p != "" {
		spec.BindOptions = &mount.BindOptions{Propagation: p}
	}
}

// parseMount reads an element of Mounts.
func parseMount(spec mount.Mount) (container.Mount, error) {
	if err := check(spec, true); err != nil {
		return container.Mount{}, fault.As(errdefs.ErrInvalidArgument, err)
	}
	return fromSpec(spec), nil
}

// fromSpec is the mount that a valid specification asks for.
func fromSpec(spec mount.Mount) container.Mount {
	m := container.Mount{Type: spec.Type, Destination: path.Clean(spec.Target), RW: !spec.ReadOnly, Spec: copySpec(spec)}
	switch spec.Type {
	case mount.TypeVolume:
		m.Name = spec.Source
		m.CopyUp = true
		if o := spec.VolumeOptions; o != nil {
			m.CopyUp = !o.NoCopy
			if o.DriverConfig != nil {
				m.Driver = o.DriverConfig.Name
			}
		}
	case mount.TypeBind:
		m.Source = path.Clean(spec.Source)
		m.Propagation = mount.PropagationRPrivate
		if spec.BindOptions != nil && spec.BindOptions.Propagation != "" {
			m.Propagation = spec.BindOptions.Propagation
		}
	case mount.TypeImage:
		m.Source = spec.Source
		m.Propagation = mount.PropagationRPrivate
	default:
	}
	return m
}

// copySpec is a copy whose bind options may be changed: the other is the client's, which inspect shows.
func copySpec(spec mount.Mount) mount.Mount {
	if spec.BindOptions != nil {
		o := *spec.BindOptions
		spec.BindOptions = &o
	}
	return spec
}

// check says no to a mount. With sources, that of a bind must be there.
func check(m mount.Mount, sources bool) error {
	err := checkOptions(m)
	if err == nil {
		err = checkTarget(m.Target)
	}
	if err == nil {
		switch m.Type {
		case mount.TypeBind:
			err = checkBind(m, sources)
		case mount.TypeVolume:
			err = checkVolume(m)
		case mount.TypeTmpfs:
			err = checkTmpfs(m)
		case mount.TypeImage:
			err = checkImage(m)
		default:
			err = errors.New("mount type unknown")
		}
	}
	if err != nil {
		return fmt.Errorf("invalid mount config for type %q: %w", m.Type, err)
	}
	return nil
}

func extra(field string) error   { return fmt.Errorf("field %s must not be specified", field) }
func missing(field string) error { return fmt.Errorf("field %s must not be empty", field) }

// checkOptions says no to options of another type of mount.
func checkOptions(m mount.Mount) error {
	for _, o := range []struct {
		name string
		kind mount.Type
		set  bool
	}{
		{"BindOptions", mount.TypeBind, m.BindOptions != nil},
		{"VolumeOptions", mount.TypeVolume, m.VolumeOptions != nil},
		{"ImageOptions", mount.TypeImage, m.ImageOptions != nil},
		{"TmpfsOptions", mount.TypeTmpfs, m.TmpfsOptions != nil},
		{"ClusterOptions", mount.TypeCluster, m.ClusterOptions != nil},
	} {
		if o.set && m.Type != o.kind {
			return extra(o.name)
		}
	}
	return nil
}

func checkTarget(target string) error {
	if target == "" {
		return missing("Target")
	}
	// Windows' separators count as well: a path that means the root to anybody is refused.
	if path.Clean(strings.ReplaceAll(target, `\`, `/`)) == "/" {
		return errors.New("invalid specification: destination can't be '/'")
	}
	return checkAbsolute(target)
}

func checkAbsolute(p string) error {
	if !path.IsAbs(strings.ReplaceAll(p, `\`, `/`)) {
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", p)
	}
	return nil
}

func checkBind(m mount.Mount, sources bool) error {
	if m.Source == "" {
		return missing("Source")
	}
	o := m.BindOptions
	if o != nil && o.Propagation != "" && !slices.Contains(mount.Propagations, o.Propagation) {
		return fmt.Errorf("invalid propagation mode: %s", o.Propagation)
	}
	if err := checkAbsolute(m.Source); err != nil || !sources {
		return err
	}
	_, err := os.Stat(m.Source)
	if errors.Is(err, fs.ErrNotExist) {
		if o == nil || !o.CreateMountpoint {
			return sourceMissing(m.Source)
		}
		return nil
	}
	return err
}

func sourceMissing(source string) error {
	return fmt.Errorf("bind source path does not exist: %s", source)
}

func checkVolume(m mount.Mount) error {
	if m.VolumeOptions == nil || m.VolumeOptions.Subpath == "" {
		return nil
	}
	if m.Source == "" {
		return errors.New("must not set Subpath when using anonymous volumes")
	}
	return checkSubpath(m.VolumeOptions.Subpath)
}

func checkSubpath(p string) error {
	if !filepath.IsLocal(p) {
		return errors.New("subpath must be a relative path within the volume")
	}
	return nil
}

func checkImage(m mount.Mount) error {
	if m.Source == "" {
		return missing("Source")
	}
	if m.ImageOptions != nil && m.ImageOptions.Subpath != "" {
		return checkSubpath(m.ImageOptions.Subpath)
	}
	return nil
}

func checkTmpfs(m mount.Mount) error {
	if m.Source != "" {
		return extra("Source")
	}
	if m.TmpfsOptions == nil {
		return nil
	}
	for _, o := range m.TmpfsOptions.Options {
		if len(o) < 1 || len(o) > 2 {
			return errors.New("invalid option array length")
		}
		if o[0] != "exec" && o[0] != "noexec" {
			return errors.New("invalid option: " + o[0])
		}
	}
	return nil
}

// parseFrom reads an element of VolumesFrom: "container" or "container:mode".
func parseFrom(spec string) (ref, mode string, err error) {
	if spec == "" {
		return "", "", errors.New("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ = strings.Cut(spec, ":")
	if mode == "" {
		return ref, "rw", nil
	}
	// Propagation and copying are those of the other container.
	if !validMode(mode) || propagation(mode) != "" || hasMode(mode, "nocopy") {
		return "", "", fmt.Errorf("invalid mode: %v", mode)
	}
	return ref, mode, nil
}

// modeKinds are the words of a mode; of each kind there may be one.
var modeKinds = [][]string{
	{"rw", "ro"},
	{"z", "Z"},
	{"private", "rprivate", "slave", "rslave", "shared", "rshared"},
	{"nocopy"},
	{"consistent", "cached", "delegated"},
}

func validMode(mode string) bool {
	if mode == "" {
		return true
	}
	var seen [5]int
	for o := range strings.SplitSeq(mode, ",") {
		kind := slices.IndexFunc(modeKinds, func(words []string) bool { return slices.Contains(words, o) })
		if kind < 0 || seen[kind] > 0 {
			return false
		}
		seen[kind]++
	}
	return true
}

func hasMode(mode, word string) bool { return slices.Contains(strings.Split(mode, ","), word) }

func propagation(mode string) mount.Propagation {
	for o := range strings.SplitSeq(mode, ",") {
		if slices.Contains(mount.Propagations, mount.Propagation(o)) {
			return mount.Propagation(o)
		}
	}
	return ""
}
