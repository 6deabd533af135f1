package mounts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/volumes"
)

// resolution collects the mounts of one container by destination: what comes later takes the place of what came before.
type resolution struct {
	*Service
	ctx context.Context //nolint:containedctx // It lives as long as one call.
	c   *container.Container
	by  map[string]container.Mount
	// asked are the destinations of Binds and Mounts, which may be named once.
	asked map[string]bool
	// used are the volumes that were noted as used; made the anonymous ones among them that are new.
	used map[string]bool
	made []string
}

// Resolve turns what was asked for (Binds, Mounts, Tmpfs, VolumesFrom, the image's volumes) into mounts, and makes the
// volumes that are missing. What it made is noted as used by the container; Release takes the notes back.
func (s *Service) Resolve(ctx context.Context, c *container.Container) ([]container.Mount, error) {
	r := &resolution{Service: s, ctx: ctx, c: c, by: map[string]container.Mount{}, asked: map[string]bool{}, used: map[string]bool{}}
	for _, step := range []func() error{r.volumesFrom, r.binds, r.mounts, r.imageVolumes} {
		if err := step(); err != nil {
			return nil, errors.Join(err, r.undo())
		}
	}
	for name := range r.used {
		if !r.has(name) {
			s.Volumes.Unuse(name, c.ID) // Another mount took its place.
		}
	}
	list := slices.Collect(maps.Values(r.by))
	slices.SortFunc(list, byDepth)
	return list, nil
}

// byDepth orders mounts so that one comes after those that it is inside of.
func byDepth(a, b container.Mount) int {
	return cmp.Or(
		cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")),
		cmp.Compare(a.Destination, b.Destination))
}

func (r *resolution) has(volume string) bool {
	for _, m := range r.by {
		if m.Type == mount.TypeVolume && m.Name == volume {
			return true
		}
	}
	return false
}

// undo gives back what was noted and made before an error. Volumes with names stay, as they do at moby.
func (r *resolution) undo() error {
	ctx := context.WithoutCancel(r.ctx)
	for name := range r.used {
		r.Volumes.Unuse(name, r.c.ID)
	}
	var errs []error
	for _, name := range r.made {
		errs = append(errs, r.Volumes.Remove(ctx, name, true))
	}
	for _, m := range r.by {
		if m.Type == mount.TypeImage {
			errs = append(errs, r.Roots.Remove(ctx, viewKey(r.c.ID, m.Destination)))
		}
	}
	return errors.Join(errs...)
}

func (r *resolution) volumesFrom() error {
	for _, spec := range r.c.HostConfig.VolumesFrom {
		ref, mode, err := parseFrom(spec)
		if err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
		other, err := r.Containers.Get(ref)
		if err != nil {
			return fault.As(errdefs.ErrInvalidArgument, err)
		}
		for _, m := range other.Mounts {
			m.RW = m.RW && !hasMode(mode, "ro")
			m.Mode = ""
			m.CopyUp = false
			switch m.Type {
			case mount.TypeVolume:
				if err := r.Volumes.Use(m.Name, r.c.ID); err != nil {
					return err
				}
				r.used[m.Name] = true
			case mount.TypeImage:
				if err := r.image(&m); err != nil {
					return err
				}
			default:
			}
			r.by[m.Destination] = m
		}
	}
	return nil
}

func (r *resolution) binds() error {
	for _, raw := range r.c.HostConfig.Binds {
		m, err := parseBind(raw, r.c.HostConfig.VolumeDriver)
		if err != nil {
			return err
		}
		_, tmpfs := r.c.HostConfig.Tmpfs[m.Destination]
		if r.asked[m.Destination] || tmpfs {
			return duplicate(m.Destination)
		}
		if err := r.add(m); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolution) mounts() error {
	for _, spec := range r.c.HostConfig.Mounts {
		m, err := parseMount(spec)
		if err != nil {
			return err
		}
		if r.asked[m.Destination] {
			return duplicate(spec.Target)
		}
		if err := r.add(m); err != nil {
			return err
		}
	}
	return nil
}

func duplicate(destination string) error {
	return fault.Errorf(errdefs.ErrInvalidArgument, "Duplicate mount point: %s", destination)
}

// add takes up a mount that was asked for by Binds or Mounts.
func (r *resolution) add(m container.Mount) error {
	var err error
	switch m.Type {
	case mount.TypeBind:
		err = r.bind(&m)
	case mount.TypeVolume:
		err = r.volume(&m)
	case mount.TypeImage:
		err = r.image(&m)
	default:
	}
	if err != nil {
		return err
	}
	r.asked[m.Destination] = true
	r.by[m.Destination] = m
	return nil
}

func (r *resolution) bind(m *container.Mount) error {
	slave, err := r.withinRoot(m)
	if err != nil {
		return err
	}
	if slave {
		m.Propagation = mount.PropagationRSlave
	}
	return nil
}

// withinRoot says that a bind has to do with the engine's own folder and must receive its unmounts: otherwise the
// container would hold on to mounts that are removed.
func (r *resolution) withinRoot(m *container.Mount) (bool, error) {
	if r.Root == "" || !strings.HasPrefix(m.Spec.Source, r.Root) && !strings.HasPrefix(r.Root, m.Spec.Source) {
		return false, nil
	}
	if m.Spec.BindOptions == nil {
		return true, nil
	}
	switch p := m.Spec.BindOptions.Propagation; p {
	case mount.PropagationRSlave, mount.PropagationRShared, "":
		return p == "", nil
	default:
		return false, fault.Errorf(errdefs.ErrInvalidArgument, `invalid mount config: must use either propagation mode "rslave" or "rshared" `+
			`when mount source is within the daemon root, daemon root: %q, bind mount source: %q, propagation: %q`, r.Root, m.Spec.Source, p)
	}
}

func (r *resolution) volume(m *container.Mount) error {
	req := volume.CreateRequest{Name: m.Name, Driver: m.Driver}
	if o := m.Spec.VolumeOptions; o != nil {
		req.Labels = o.Labels
		if o.DriverConfig != nil {
			req.DriverOpts = o.DriverConfig.Options
		}
	}
	v, err := r.Volumes.CreateFor(r.ctx, req, r.c.ID)
	if err != nil {
		return err
	}
	r.used[v.Name] = true
	if m.Anonymous = m.Name == ""; m.Anonymous {
		r.made = append(r.made, v.Name)
	}
	m.Name, m.Driver, m.Source = v.Name, v.Driver, v.Mountpoint
	if m.Mode == "" && m.Driver == volumes.Local {
		m.Mode = "z"
	}
	return nil
}

// image takes up a mount of an image: a read-only snapshot of it, which lives as long as the container.
func (r *resolution) image(m *container.Mount) error {
	ref := m.Spec.Source
	img, err := r.Images.Resolve(r.ctx, ref, nil)
	if err != nil {
		return err
	}
	if err := r.Roots.View(r.ctx, viewKey(r.c.ID, m.Destination), r.c.ID, img.ChainID); err != nil {
		return err
	}
	if m.Name == "" {
		m.Name = ref
	}
	m.Spec.Source = img.Target.Digest.String()
	m.Source = r.place(r.c.ID, m.Destination)
	m.RW = false
	return nil
}

// viewKey names the snapshot of an image that is mounted somewhere in a container.
func viewKey(id, destination string) string { return id + "-image-" + hash(destination) }

// hash makes a file name of a path.
func hash(destination string) string {
	sum := sha256.Sum256([]byte(destination))
	return hex.EncodeToString(sum[:8])
}

// place is where on the host a mount is shown that has no other place.
func (s *Service) place(id, destination string) string {
	return path.Join(s.Dir, id, hash(destination))
}

// imageVolumes gives each of the image's volumes an anonymous one, where nothing else is mounted.
func (r *resolution) imageVolumes() error {
	if r.c.Config == nil {
		return nil
	}
	for _, dest := range slices.Sorted(maps.Keys(r.c.Config.Volumes)) {
		dest = path.Join("/", dest)
		if dest == "/" {
			return fault.Errorf(errdefs.ErrInvalidArgument, "invalid volume specification: destination can't be '/'")
		}
		_, mounted := r.by[dest]
		_, tmpfs := r.c.HostConfig.Tmpfs[dest]
		if mounted || tmpfs {
			continue
		}
		v, err := r.Volumes.CreateFor(r.ctx, volume.CreateRequest{Driver: r.c.HostConfig.VolumeDriver}, r.c.ID)
		if err != nil {
			return err
		}
		r.used[v.Name] = true
		r.made = append(r.made, v.Name)
		r.by[dest] = container.Mount{
			Type: mount.TypeVolume, Name: v.Name, Driver: v.Driver, Source: v.Mountpoint, Destination: dest,
			RW: true, Anonymous: true, CopyUp: true,
		}
	}
	return nil
}
