package containers

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	eventsapi "github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/networks"
	"github.com/gantry-containers/gantry/engine/spec"
	"github.com/gantry-containers/gantry/engine/stdio"
	"github.com/gantry-containers/gantry/engine/tasks"
)

// starter starts containers.
type starter struct {
	ground
	parts    Parts
	teardown *teardown
	remover  *remover
}

// Start starts a container. One that runs is errdefs.ErrNotModified. A client that goes away does not stop it.
func (s *starter) Start(ctx context.Context, ref string) error {
	c, err := s.store.Get(ref)
	if err != nil {
		return err
	}
	if err := startable(c); err != nil {
		return err
	}
	unlock := s.store.Lock(c.ID)
	defer unlock()
	// Another client may have been faster.
	if c, err = s.store.Get(c.ID); err != nil {
		return err
	}
	if c.State.Running() {
		return nil
	}
	return s.start(context.WithoutCancel(ctx), c, true)
}

// startable says no to containers that cannot be started now.
func startable(c *container.Container) error {
	switch {
	case c.State.Status == container.Paused:
		return fault.Errorf(errdefs.ErrConflict, "cannot start a paused container, try unpause instead")
	case busy(c):
		return fault.Errorf(errdefs.ErrNotModified, "container is already running")
	}
	return notGoing(c)
}

func notGoing(c *container.Container) error {
	if c.State.RemovalInProgress || c.State.Status == container.Dead {
		return fault.Errorf(errdefs.ErrConflict, "container is marked for removal and cannot be started")
	}
	return nil
}

// start does it, for a client or by the restart policy. The caller holds the container's lock. A failure takes back
// what was made, is written into the record, and removes a container with --rm.
func (s *starter) start(ctx context.Context, c *container.Container, byClient bool) error {
	if err := notGoing(c); err != nil {
		return err
	}
	s.runs.change(c.ID, func(r *run) {
		r.torn = false
		if byClient {
			r.stopped, r.pause = false, 0
		}
	})
	code, pid, began, err := s.run(ctx, c)
	if err != nil {
		s.failed(ctx, c, code, err)
		return err
	}
	started, err := s.store.Update(c.ID, func(c *container.Container) error {
		c.Started = true
		if byClient {
			c.StopRequested, c.RestartCount = false, 0
		}
		c.State.Status, c.State.Pid, c.State.StartedAt = container.Running, pid, began
		c.State.ExitCode, c.State.Error, c.State.OOMKilled = 0, "", false
		return nil
	})
	if err != nil {
		// Without a record the next engine would not know how to go on with it.
		_, destroyed := s.parts.Tasks.Destroy(ctx, c.ID)
		s.failed(ctx, c, 0, err)
		return errors.Join(err, destroyed)
	}
	s.parts.Health.Watch(c.ID)
	s.announce.tell(started, eventsapi.ActionStart)
	return nil
}

// run makes all that a container needs and lets its program run. With an error it tells the container's exit code (0
// for the one that it has), and leaves no task.
func (s *starter) run(ctx context.Context, c *container.Container) (code, pid int, began time.Time, err error) {
	create, err := s.prepare(ctx, c)
	if err != nil {
		return 0, 0, began, err
	}
	began = time.Now().UTC()
	if pid, err = s.parts.Tasks.Create(ctx, create); err != nil {
		code, err = startFault(wrap(err, "failed to create task for container"))
		return code, 0, began, err
	}
	if err := s.parts.Networks.Connect(ctx, c, pid); err != nil {
		s.destroy(ctx, c.ID)
		return 0, 0, began, err
	}
	if err := s.parts.Tasks.Start(ctx, c.ID); err != nil {
		s.destroy(ctx, c.ID)
		code, err = startFault(err)
		return code, 0, began, err
	}
	return 0, pid, began, nil
}

func (s *starter) destroy(ctx context.Context, id string) {
	if _, err := s.parts.Tasks.Destroy(ctx, id); err != nil {
		slog.Error("a task is left of a start that failed", "container", id, "error", err)
	}
}

// prepare opens the streams, while it makes everything else ready and puts it into a spec.
func (s *starter) prepare(ctx context.Context, c *container.Container) (tasks.Create, error) {
	log, err := logOf(c, s.store.Dir(c.ID))
	if err != nil {
		return tasks.Create{}, err
	}
	r, err := s.runtime(c)
	if err != nil {
		return tasks.Create{}, err
	}
	var (
		g    errgroup.Group
		io   tasks.IO
		oci  *specs.Spec
		name = cmp.Or(c.Image.Ref, c.Config.Image)
	)
	g.Go(func() (err error) {
		io, err = s.parts.Streams.Open(ctx, streamsOf(c, log))
		return wrap(err, "failed to create task for container")
	})
	g.Go(func() (err error) {
		oci, err = s.spec(ctx, c, r)
		return err
	})
	if err := g.Wait(); err != nil {
		return tasks.Create{}, err
	}
	return tasks.Create{
		ID: c.ID, Spec: oci, Image: name, Labels: map[string]string{ownerLabel: s.parts.Settings().Owner},
		Snapshotter: c.Snapshotter, Snapshot: c.ID,
		Runtime: r.Shim, RuntimeOptions: r.Options, IO: io, Remap: s.remap(c),
	}, nil
}

// remap shows the root's layers with a container's own ids while its task is made; nil when it has the host's.
func (s *starter) remap(c *container.Container) tasks.Remap {
	if c.IDs.Empty() {
		return nil
	}
	return func(ctx context.Context, root []mount.Mount) ([]mount.Mount, func() error, error) {
		return s.parts.Roots.Remap(ctx, c.ID, root, c.IDs)
	}
}

// streamsOf is what the keeper must know about a container's streams.
func streamsOf(c *container.Container, log *stdio.Log) stdio.Streams {
	return stdio.Streams{
		Key:   stdio.Key{Container: c.ID},
		Stdin: c.Config.OpenStdin, StdinOnce: c.Config.StdinOnce, Terminal: c.Config.Tty,
		Log: log,
	}
}

// runtime is what HostConfig.Runtime stands for.
func (s *starter) runtime(c *container.Container) (Runtime, error) {
	set := s.parts.Settings()
	name := c.HostConfig.Runtime
	if name == "" {
		name = set.Defaults.Runtime
	}
	if r, ok := set.Runtimes[name]; ok {
		return r, nil
	}
	switch {
	case name == "" || name == "runc" || name == tasks.DefaultRuntime:
		return Runtime{Shim: tasks.DefaultRuntime}, nil
	case strings.HasPrefix(name, "/") || strings.Count(name, ".") >= 2:
		return Runtime{Shim: name}, nil
	}
	return Runtime{}, fault.Errorf(errdefs.ErrInvalidArgument, "unknown or invalid runtime name: %s", name)
}

// spec makes what the runtime gets. What it prepares is taken back by the teardown.
func (s *starter) spec(ctx context.Context, c *container.Container, r Runtime) (*specs.Spec, error) {
	if err := s.linksRun(c); err != nil {
		return nil, err
	}
	in := spec.Input{Container: c, Features: r.Features, Facts: s.parts.Settings().Facts, Defaults: s.parts.Settings().Defaults}
	var err error
	if in.Namespaces, err = s.namespaces(c); err != nil {
		return nil, err
	}
	// Each of these is a few calls to the manager or the kernel, and none needs another's result.
	var g errgroup.Group
	var net *networks.Attachment
	g.Go(func() (err error) {
		net, err = s.parts.Networks.Prepare(ctx, c)
		return err
	})
	g.Go(func() (err error) {
		in.User, err = s.user(ctx, c)
		return err
	})
	g.Go(func() (err error) {
		if in.ShmPath, err = s.sharedMemory(c); err == nil {
			in.Mounts, err = s.parts.Mounts.Prepare(ctx, c)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if net != nil {
		in.HostnameFile, in.Hosts, in.ResolvConf = net.Hostname, net.Hosts, net.ResolvConf
		in.Container = named(c, net)
		if net.Namespace != "" {
			in.Namespaces[specs.NetworkNamespace] = net.Namespace
		}
	}
	if err := own(c, in.HostnameFile, in.Hosts, in.ResolvConf); err != nil {
		return nil, err
	}
	oci, err := s.parts.Specs.Build(in)
	if err != nil {
		return nil, err
	}
	if r.Features != nil && r.Features.Annotations[briefRootfs] == "true" {
		if oci.Annotations == nil {
			oci.Annotations = map[string]string{}
		}
		oci.Annotations[briefRootfs] = "true"
	}
	return oci, nil
}

// briefRootfs is an annotation by which our shim takes the rootfs out of the bundle when the container has been created:
// nothing here looks for it there, and a thousand mounts would make every further start slow. A runtime says by the same
// name among its features that it does not need it (docs/decisions/0047-brief-rootfs.md).
const briefRootfs = "io.gantry.rootfs.brief"

// named is a container as its program sees it: in another one's network it has that one's name.
func named(c *container.Container, net *networks.Attachment) *container.Container {
	if net.Name == "" {
		return c
	}
	config, other := *c.Config, *c
	config.Hostname, config.Domainname = net.Name, net.Domain
	other.Config = &config
	return &other
}

// failed writes down why a container did not start, and takes back what was made for it.
func (s *starter) failed(ctx context.Context, c *container.Container, code int, err error) {
	s.teardown.all(ctx, c)
	s.runs.change(c.ID, func(r *run) { r.torn = true })
	_, update := s.store.Update(c.ID, func(c *container.Container) error {
		c.State.Error = err.Error()
		if code != 0 {
			c.State.ExitCode = code
		} else if c.State.ExitCode == 0 {
			c.State.ExitCode = codeUnknown
		}
		return nil
	})
	if update != nil {
		slog.Error("the reason why a container did not start is not in its record", "container", c.ID, "error", update)
	}
	if !c.HostConfig.AutoRemove {
		return
	}
	if err := s.remover.gone(ctx, c.ID, true); err != nil {
		slog.Error("a container that did not start is left", "container", c.ID, "error", err)
	}
}
