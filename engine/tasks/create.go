package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// DefaultRuntime is the runtime of containers that name none.
const DefaultRuntime = "io.containerd.runc.v2"

// undoTime bounds what is done to take back a create that failed, or an exec: a shim that hangs must not hold a
// client for ever.
const undoTime = 45 * time.Second

// Create is what a container starts with.
type Create struct {
	ID     string
	Spec   *specs.Spec
	Labels map[string]string
	// Image is the name that the manager's record tells; it does not matter for running.
	Image string
	// Snapshotter and Snapshot say what is mounted as the root.
	Snapshotter, Snapshot string
	// Runtime is a name as io.containerd.runc.v2 or the path of a shim; empty for DefaultRuntime. RuntimeOptions are its
	// options, or nil: *options.Options of containerd for those that are like runc.
	Runtime        string
	RuntimeOptions any
	IO             IO
	// Remap changes how the root is mounted; nil for as the snapshotter says.
	Remap Remap
}

// Remap makes ready what other mounts of a root need. Done is called when they are made.
type Remap func(ctx context.Context, root []mount.Mount) (mounts []mount.Mount, done func() error, err error)

// Create makes the manager's container record and its task, whose init waits for Start. A failure leaves neither.
// What an earlier start left half-made under the same id is replaced.
func (s *Service) Create(ctx context.Context, c Create) (pid int, err error) {
	if c.Runtime == "" {
		c.Runtime = DefaultRuntime
	}
	root, err := s.prepare(ctx, c)
	if err != nil {
		return 0, err
	}
	opts, err := taskOptions(c)
	if err != nil {
		return 0, errors.Join(err, s.forget(ctx, c.ID))
	}
	root, done, err := remapped(ctx, c.Remap, root)
	if err != nil {
		return 0, errors.Join(err, s.forget(ctx, c.ID))
	}
	r, err := s.client.TaskService().Create(ctx, &tasksapi.CreateTaskRequest{
		ContainerID: c.ID, Rootfs: rootOf(root, c.Spec), Options: opts, Terminal: c.IO.Terminal,
		Stdin: c.IO.Stdin, Stdout: c.IO.Stdout, Stderr: c.IO.Stderr,
	})
	if err := done(); err != nil {
		slog.Warn("layers stay shown with other ids", "container", c.ID, "error", err)
	}
	if err != nil {
		// The text is the client's: what goes wrong when taking back is in the manager's log.
		_ = s.forget(ctx, c.ID)
		return 0, errgrpc.ToNative(err)
	}
	return int(r.GetPid()), nil
}

// remapped asks for other mounts when there shall be.
func remapped(ctx context.Context, f Remap, root []mount.Mount) ([]mount.Mount, func() error, error) {
	if f == nil {
		return root, func() error { return nil }, nil
	}
	return f(ctx, root)
}

// prepare makes the record and asks for the root's mounts, both at once.
func (s *Service) prepare(ctx context.Context, c Create) (root []mount.Mount, err error) {
	var g errgroup.Group
	g.Go(func() error { return s.record(ctx, c) })
	if c.Snapshot != "" {
		g.Go(func() (err error) {
			root, err = s.client.SnapshotService(c.Snapshotter).Mounts(ctx, c.Snapshot)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		_ = s.forget(ctx, c.ID)
		return nil, err
	}
	return root, nil
}

// record makes the manager's container record.
func (s *Service) record(ctx context.Context, c Create) error {
	spec, err := typeurl.MarshalAny(c.Spec)
	if err != nil {
		return err
	}
	k := containers.Container{
		ID: c.ID, Labels: c.Labels, Image: c.Image, Spec: spec,
		Snapshotter: c.Snapshotter, SnapshotKey: c.Snapshot,
		Runtime: containers.RuntimeInfo{Name: c.Runtime},
	}
	if c.RuntimeOptions != nil {
		if k.Runtime.Options, err = typeurl.MarshalAny(c.RuntimeOptions); err != nil {
			return err
		}
	}
	_, err = s.client.ContainerService().Create(ctx, k)
	if !errdefs.IsAlreadyExists(err) {
		return err
	}
	if _, err := s.Destroy(ctx, c.ID); err != nil {
		return fmt.Errorf("replace what was left of an earlier start: %w", err)
	}
	_, err = s.client.ContainerService().Create(ctx, k)
	return err
}

// forget takes back a record whose task was never there.
func (s *Service) forget(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return forgotten(s.client.ContainerService().Delete(ctx, id))
}

// taskOptions are the runtime's options, and who owns the pipes: a program that does not run as root must be able to
// open /dev/stdout again.
func taskOptions(c Create) (*anypb.Any, error) {
	o, like := c.RuntimeOptions.(*options.Options)
	switch {
	case c.RuntimeOptions == nil && strings.HasPrefix(c.Runtime, "io.containerd.runc."):
		o = &options.Options{}
	case like:
		o, _ = proto.Clone(o).(*options.Options)
	default:
		return nil, nil // The manager takes those of the record.
	}
	if c.Spec.Process != nil {
		u := c.Spec.Process.User
		o.IoUid, o.IoGid = onHost(u.UID, c.Spec.Linux.UIDMappings), onHost(u.GID, c.Spec.Linux.GIDMappings)
	}
	return typeurl.MarshalAnyToProto(o)
}

// onHost is what an id of the container's is on the host.
func onHost(id uint32, maps []specs.LinuxIDMapping) uint32 {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return id
}

// rootOf is the root's mounts in the words of the API, with SELinux's label when there is one.
func rootOf(root []mount.Mount, spec *specs.Spec) []*types.Mount {
	list := make([]*types.Mount, 0, len(root))
	for _, m := range root {
		o := m.Options
		if spec.Linux != nil && spec.Linux.MountLabel != "" {
			o = append(slices.Clip(o), fmt.Sprintf("context=%q", spec.Linux.MountLabel))
		}
		list = append(list, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: o})
	}
	return list
}
