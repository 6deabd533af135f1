package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	api "github.com/moby/moby/api/types/container"
	eventsapi "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/images"
	"github.com/gantry-containers/gantry/engine/names"
	"github.com/gantry-containers/gantry/engine/spec"
)

// namesTried is how many names are made up before one is made of the id.
const namesTried = 6

// creator makes containers.
type creator struct {
	ground
	parts  Parts
	ranges ranges
}

// Create is what a client asks for.
type Create struct {
	// Name is empty for one that is made up.
	Name string
	api.CreateRequest
	// Body is the request as it was sent: clients of old may have fields in it that the types have no more. Nil for none.
	Body []byte
	// Version is the client's API version, as "1.41"; empty for the newest.
	Version string
	// Platform is nil for this machine's.
	Platform *ocispec.Platform
}

// Create makes a container, which belongs to the caller until it is started or removed. What it is given is changed.
// A failure leaves nothing.
func (cr *creator) Create(ctx context.Context, req Create) (api.CreateResponse, error) {
	if req.Version == "" {
		req.Version = newest
	}
	s := cr.parts.Settings()
	adjusted, err := spec.Adjust(req.Version, &req.CreateRequest, req.Body, s.Facts)
	if err != nil {
		return api.CreateResponse{}, err
	}
	warnings, err := spec.Check(req.Config, req.HostConfig, s.Defaults, s.Facts)
	if err != nil {
		return api.CreateResponse{}, asInvalid(err)
	}
	img, warning, err := cr.image(ctx, req)
	if err != nil {
		return api.CreateResponse{}, err
	}
	warnings = append(warnings, warning...)
	if err := spec.CheckNetworking(req.NetworkingConfig, cr.parts.Networks.Within); err != nil {
		return api.CreateResponse{}, err
	}
	if err := cr.complete(req, img); err != nil {
		return api.CreateResponse{}, asInvalid(err)
	}
	c, err := cr.make(ctx, req, img, adjusted.ReadOnlyNonRecursive)
	if err != nil {
		return api.CreateResponse{}, err
	}
	cr.announce.tell(c, eventsapi.ActionCreate)
	// Never nil: clients of typed languages take it for a list.
	return api.CreateResponse{ID: c.ID, Warnings: append(append([]string{}, warnings...), adjusted.Warnings...)}, nil
}

// newest is an API version that is older than none.
const newest = "1.99"

// asInvalid makes an error without a class the client's fault.
func asInvalid(err error) error {
	if fault.Class(err) != nil {
		return err
	}
	return fault.As(errdefs.ErrInvalidArgument, err)
}

// image finds what the container is made from; nil for an empty root.
func (cr *creator) image(ctx context.Context, req Create) (*images.Image, []string, error) {
	if req.Config.Image == "" {
		return nil, nil, nil
	}
	img, err := cr.parts.Images.Resolve(ctx, req.Config.Image, req.Platform)
	if err != nil || req.Platform != nil {
		return img, nil, err
	}
	has, host := img.Config.Platform, platforms.DefaultSpec()
	if platforms.Only(host).Match(has) {
		return img, nil, nil
	}
	return img, []string{fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested",
		platforms.FormatAll(has), platforms.FormatAll(host))}, nil
}

// complete puts the image's and the engine's defaults where the client said nothing.
func (cr *creator) complete(req Create, img *images.Image) error {
	if img != nil {
		merge(req.Config, &img.Config.Config)
	}
	if len(req.Config.Entrypoint) == 1 && req.Config.Entrypoint[0] == "" {
		req.Config.Entrypoint = nil
	}
	if len(req.Config.Entrypoint) == 0 && len(req.Config.Cmd) == 0 {
		return errors.New("no command specified")
	}
	return completeLog(&req.HostConfig.LogConfig, cr.parts.Settings())
}

// make makes the record and all that belongs to it.
func (cr *creator) make(ctx context.Context, req Create, img *images.Image, nonRecursive bool) (_ *container.Container, err error) {
	id := names.ID()
	name, err := cr.reserve(id, req.Name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			cr.store.Unreserve(id, name)
		}
	}()
	c, err := cr.record(id, name, req, img)
	if err != nil {
		return nil, err
	}
	defer cr.ranges.give(id)
	if c.IDs, err = cr.chooseIDs(c); err != nil {
		return nil, asInvalid(err)
	}
	if err := cr.checkLinks(c); err != nil {
		return nil, err
	}
	// Undoing must not end with the client's patience.
	undo := context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			err = join(err, cr.parts.Mounts.Release(undo, c, true))
		}
	}()
	if c.Mounts, err = cr.parts.Mounts.Resolve(ctx, c); err != nil {
		return nil, err
	}
	if nonRecursive {
		withoutRecursion(c.Mounts)
	}
	defer func() {
		if err != nil {
			err = join(err, cr.parts.Roots.Remove(undo, id))
		}
	}()
	if err := cr.root(ctx, id, img); err != nil {
		return nil, err
	}
	if err := cr.parts.Mounts.CopyUp(ctx, c); err != nil {
		return nil, err
	}
	// The record comes last: what is there without one is swept by the next engine.
	return c, cr.store.Create(c)
}

// root makes the root file system. Of an image that was loaded, variants for other machines are not unpacked yet.
func (cr *creator) root(ctx context.Context, id string, img *images.Image) error {
	if img == nil {
		return cr.parts.Roots.Create(ctx, id, "")
	}
	err := cr.parts.Roots.Create(ctx, id, img.ChainID)
	if !errdefs.IsNotFound(err) {
		return err
	}
	if _, err := cr.parts.Images.Unpack(ctx, img.Manifest); err != nil {
		return err
	}
	return cr.parts.Roots.Create(ctx, id, img.ChainID)
}

// join keeps the first error's class and text for the client; the second one is for who looks deeper.
func join(err, undo error) error {
	if undo == nil {
		return err
	}
	return undone{err, undo}
}

type undone struct {
	error
	undo error
}

func (u undone) Unwrap() error { return u.error }

// reserve takes a name, or makes one up.
func (cr *creator) reserve(id, name string) (string, error) {
	if name == "" {
		for i := range namesTried {
			if made := names.Random(i); cr.store.Reserve(id, made) == nil {
				return made, nil
			}
		}
		return id[:12], cr.store.Reserve(id, id[:12])
	}
	if err := names.Check(name); err != nil {
		return "", err
	}
	name = bare(name)
	return name, cr.store.Reserve(id, name)
}

// record is what will be written down.
func (cr *creator) record(id, name string, req Create, img *images.Image) (*container.Container, error) {
	if req.Config.Hostname == "" {
		req.Config.Hostname = id[:12]
		if req.HostConfig.NetworkMode.IsHost() {
			host, err := os.Hostname()
			if err != nil {
				return nil, err
			}
			req.Config.Hostname = host
		}
	}
	if err := spec.Share(req.HostConfig, cr.store.Get); err != nil {
		return nil, err
	}
	labels, err := spec.Confine(req.HostConfig)
	if err != nil {
		return nil, err
	}
	c := &container.Container{
		AppArmorProfile: labels.AppArmor, ProcessLabel: labels.Process, MountLabel: labels.Mount,
		ID: id, Name: name, Created: time.Now().UTC(),
		Config: req.Config, HostConfig: req.HostConfig,
		Endpoints:   endpoints(req),
		Snapshotter: cr.parts.Settings().Snapshotter,
		Platform:    platforms.DefaultSpec(),
		State:       container.State{Status: container.Created},
	}
	command := req.Config.Cmd
	if len(req.Config.Entrypoint) > 0 {
		command = append(append([]string{}, req.Config.Entrypoint...), command...)
	}
	c.Path, c.Args = command[0], append([]string{}, command[1:]...)
	if img != nil {
		c.Image = container.Image{Name: req.Config.Image, Ref: img.Name, Target: img.Target, Manifest: img.Manifest}
		c.Platform = img.Config.Platform
	}
	return c, nil
}

// endpoints are the networks that a container will be in.
func endpoints(req Create) map[string]*network.EndpointSettings {
	mode := req.HostConfig.NetworkMode
	if req.Config.NetworkDisabled || mode.IsContainer() {
		return nil
	}
	all := map[string]*network.EndpointSettings{}
	maps.Copy(all, req.NetworkingConfig.EndpointsConfig)
	if len(all) == 0 {
		all[mode.NetworkName()] = &network.EndpointSettings{}
	}
	return all
}

// withoutRecursion makes read-only binds as clients before API 1.44 mean them.
func withoutRecursion(mounts []container.Mount) {
	for i := range mounts {
		m := &mounts[i]
		if m.Type != mount.TypeBind {
			continue
		}
		o := mount.BindOptions{}
		if m.Spec.BindOptions != nil {
			o = *m.Spec.BindOptions
		}
		o.ReadOnlyNonRecursive = true
		m.Spec.BindOptions = &o
	}
}
