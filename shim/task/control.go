package task

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/api/options"
	"github.com/gantry-containers/gantry/shim/api/task"
	"github.com/gantry-containers/gantry/shim/api/tasktypes"
	"github.com/gantry-containers/gantry/shim/oci"
	"github.com/gantry-containers/gantry/shim/ttrpc"
)

func (s *Service) pause(ctx context.Context, r *task.PauseRequest) (*known.Empty, error) {
	return s.inTurn(ctx, r.Id, func(ctx context.Context, c *container) error {
		if err := c.mustBe("pause", tasktypes.Status_RUNNING); err != nil {
			return err
		}
		c.setPause(true, false)
		err := c.runtime.Pause(ctx, c.id)
		c.setPause(false, err == nil)
		if err != nil {
			return runtimeError("OCI runtime pause failed", err)
		}
		c.tell(pausedEvent(c.id))
		return nil
	})
}

func (s *Service) resume(ctx context.Context, r *task.ResumeRequest) (*known.Empty, error) {
	return s.inTurn(ctx, r.Id, func(ctx context.Context, c *container) error {
		if err := c.mustBe("resume", tasktypes.Status_PAUSED); err != nil {
			return err
		}
		if err := c.runtime.Resume(ctx, c.id); err != nil {
			return runtimeError("OCI runtime resume failed", err)
		}
		c.setPause(false, false)
		c.tell(resumedEvent(c.id))
		return nil
	})
}

// setPause notes what State shall say. A container that has ended is not paused any more.
func (c *container) setPause(pausing, paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pausing, c.paused = pausing, paused && !c.ended
}

func (s *Service) update(ctx context.Context, r *task.UpdateTaskRequest) (*known.Empty, error) {
	var resources specs.LinuxResources
	if err := json.Unmarshal(r.Resources.GetValue(), &resources); err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "resources: %w", err)
	}
	return s.inTurn(ctx, r.Id, func(ctx context.Context, c *container) error {
		if c.init.currentStatus() == tasktypes.Status_STOPPED {
			return ttrpc.Errorf(ttrpc.FailedPrecondition, "cannot update a stopped container: %q", c.id)
		}
		if err := c.runtime.Update(ctx, c.id, r.Resources.GetValue()); err != nil {
			return runtimeError("OCI runtime update failed", err)
		}
		return nil
	})
}

func (s *Service) checkpoint(ctx context.Context, r *task.CheckpointTaskRequest) (*known.Empty, error) {
	var o options.CheckpointOptions
	if err := o.UnmarshalVT(r.Options.GetValue()); err != nil {
		return nil, ttrpc.Errorf(ttrpc.InvalidArgument, "options: %w", err)
	}
	return s.inTurn(ctx, r.Id, func(ctx context.Context, c *container) error {
		if err := c.mustBe("checkpoint", tasktypes.Status_RUNNING, tasktypes.Status_PAUSED); err != nil {
			return err
		}
		work, clean, err := c.checkpointWork(o.WorkPath)
		if err != nil {
			return err
		}
		defer clean()
		err = c.runtime.Checkpoint(ctx, c.id, oci.CheckpointOptions{
			Images: r.Path, Work: work, Parent: o.ParentPath,
			TCP: o.OpenTcp, UnixSockets: o.ExternalUnixSockets, Terminal: o.Terminal, FileLocks: o.FileLocks,
			LeaveRunning: !o.Exit, CgroupsMode: o.CgroupsMode, EmptyNamespaces: o.EmptyNamespaces,
		})
		if err != nil {
			return runtimeError("OCI runtime checkpoint failed ("+c.keepDumpLog(work)+")", err)
		}
		return nil
	})
}

// inTurn runs an operation that excludes others.
func (s *Service) inTurn(ctx context.Context, id string, do func(context.Context, *container) error) (*known.Empty, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	ctx, cancel := operation(ctx)
	defer cancel()
	if err := do(ctx, c); err != nil {
		return nil, err
	}
	return &known.Empty{}, nil
}

// mustBe refuses an operation in any other status than these.
func (c *container) mustBe(operation string, wanted ...tasktypes.Status) error {
	status := c.init.visibleStatus()
	if slices.Contains(wanted, status) {
		return nil
	}
	return ttrpc.Errorf(ttrpc.FailedPrecondition, "cannot %s container %q: it is %s", operation, c.id, statusNames[status])
}

var statusNames = map[tasktypes.Status]string{
	tasktypes.Status_CREATED: "created", tasktypes.Status_RUNNING: "running", tasktypes.Status_STOPPED: "stopped",
	tasktypes.Status_PAUSED: "paused", tasktypes.Status_PAUSING: "pausing",
}
