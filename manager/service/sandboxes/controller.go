package sandboxes

import (
	"context"
	"fmt"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	api "github.com/containerd/containerd/api/services/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gantry-containers/gantry/manager/service/announce"
)

// controller passes requests about running sandboxes on to the controller that each one names.
type controller struct {
	api.UnimplementedControllerServer
	controllers map[string]sandbox.Controller
	publisher   events.Publisher
}

func (c *controller) find(name string) (sandbox.Controller, error) {
	if name == "" {
		return nil, errgrpc.ToGRPC(fmt.Errorf("%w: sandbox controller name can not be empty", errdefs.ErrInvalidArgument))
	}
	found, ok := c.controllers[name]
	if !ok {
		return nil, errgrpc.ToGRPC(fmt.Errorf("%w: failed to get sandbox controller by %s", errdefs.ErrNotFound, name))
	}
	return found, nil
}

// Create makes a sandbox.
func (c *controller) Create(ctx context.Context, r *api.ControllerCreateRequest) (*api.ControllerCreateResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	what := sandbox.Sandbox{ID: r.SandboxID}
	if r.Sandbox != nil {
		what = fromProto(r.Sandbox)
	}
	opts := []sandbox.CreateOpt{
		sandbox.WithNetNSPath(r.NetnsPath),
		sandbox.WithRootFS(mount.FromProto(r.Rootfs)),
		sandbox.WithAnnotations(r.Annotations),
	}
	if r.Options != nil {
		opts = append(opts, sandbox.WithOptions(r.Options))
	}
	if err := found.Create(ctx, what, opts...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	announce.Done(ctx, c.publisher, "/sandboxes/create", &eventtypes.SandboxCreate{SandboxID: r.SandboxID})
	return &api.ControllerCreateResponse{SandboxID: r.SandboxID}, nil
}

// Start starts a sandbox that was made.
func (c *controller) Start(ctx context.Context, r *api.ControllerStartRequest) (*api.ControllerStartResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	started, err := found.Start(ctx, r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPCf(err, "failed to start sandbox %q", r.SandboxID)
	}
	announce.Done(ctx, c.publisher, "/sandboxes/start", &eventtypes.SandboxStart{SandboxID: r.SandboxID})
	return &api.ControllerStartResponse{
		SandboxID: started.SandboxID,
		Pid:       started.Pid,
		CreatedAt: timestamppb.New(started.CreatedAt),
		Labels:    started.Labels,
		Address:   started.Address,
		Version:   started.Version,
		Spec:      typeurl.MarshalProto(started.Spec),
	}, nil
}

// Platform answers with the platform that runs in a sandbox.
func (c *controller) Platform(ctx context.Context, r *api.ControllerPlatformRequest) (*api.ControllerPlatformResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	p, err := found.Platform(ctx, r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerPlatformResponse{Platform: &types.Platform{
		OS:           p.OS,
		Architecture: p.Architecture,
		Variant:      p.Variant,
		OSVersion:    p.OSVersion,
	}}, nil
}

// Stop stops a sandbox, within the time that the request gives it.
func (c *controller) Stop(ctx context.Context, r *api.ControllerStopRequest) (*api.ControllerStopResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	limit := time.Duration(r.TimeoutSecs) * time.Second
	if err := found.Stop(ctx, r.SandboxID, sandbox.WithTimeout(limit)); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerStopResponse{}, nil
}

// Wait answers when the sandbox has ended. The event of that is made here, once for each client that waits, because
// containerd's controllers make none.
func (c *controller) Wait(ctx context.Context, r *api.ControllerWaitRequest) (*api.ControllerWaitResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	exit, err := found.Wait(ctx, r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	at := timestamppb.New(exit.ExitedAt)
	announce.Done(ctx, c.publisher, "/sandboxes/exit",
		&eventtypes.SandboxExit{SandboxID: r.SandboxID, ExitStatus: exit.ExitStatus, ExitedAt: at})
	return &api.ControllerWaitResponse{ExitStatus: exit.ExitStatus, ExitedAt: at}, nil
}

// Status answers with how a sandbox is.
func (c *controller) Status(ctx context.Context, r *api.ControllerStatusRequest) (*api.ControllerStatusResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	status, err := found.Status(ctx, r.SandboxID, r.Verbose)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerStatusResponse{
		SandboxID: status.SandboxID,
		Pid:       status.Pid,
		State:     status.State,
		Info:      status.Info,
		CreatedAt: timestamppb.New(status.CreatedAt),
		ExitedAt:  timestamppb.New(status.ExitedAt),
		Extra:     typeurl.MarshalProto(status.Extra),
		Address:   status.Address,
		Version:   status.Version,
	}, nil
}

// Shutdown removes a sandbox with everything in it.
func (c *controller) Shutdown(ctx context.Context, r *api.ControllerShutdownRequest) (*api.ControllerShutdownResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	if err := found.Shutdown(ctx, r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerShutdownResponse{}, nil
}

// Metrics answers with what a sandbox uses.
func (c *controller) Metrics(ctx context.Context, r *api.ControllerMetricsRequest) (*api.ControllerMetricsResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	metrics, err := found.Metrics(ctx, r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerMetricsResponse{Metrics: metrics}, nil
}

// Update changes the fields of a running sandbox that the request names.
func (c *controller) Update(ctx context.Context, r *api.ControllerUpdateRequest) (*api.ControllerUpdateResponse, error) {
	found, err := c.find(r.Sandboxer)
	if err != nil {
		return nil, err
	}
	if r.Sandbox == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("sandbox can not be nil: %w", errdefs.ErrInvalidArgument))
	}
	if err := found.Update(ctx, r.SandboxID, fromProto(r.Sandbox), r.Fields...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.ControllerUpdateResponse{}, nil
}
