package task

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/gantry-containers/gantry/manager/shim"
)

// plan is what a client wants created.
type plan struct {
	request    *tasks.CreateTaskRequest
	spec       typeurl.Any
	runtime    shim.Request
	address    string // of a server that exists, as PROTOCOL+URL
	version    int
	checkpoint string // a directory to restore from
	unpack     bool   // the rootfs of the checkpoint is to be unpacked, and the task started at once
}

// newPlan puts together what the container's record says, and what the request does.
func newPlan(c *containers.Container, r *tasks.CreateTaskRequest, runtime string) (plan, error) {
	p := plan{request: r, spec: c.Spec, address: r.TaskApiAddress, version: int(r.TaskApiVersion)}
	p.runtime.Runtime = c.Runtime.Name
	if p.runtime.Runtime == "" {
		p.runtime.Runtime = runtime
	}
	if r.RuntimePath != "" {
		p.runtime.Runtime = r.RuntimePath
	}
	p.runtime.Options = typeurl.MarshalProto(c.Runtime.Options)
	if r.Options != nil {
		if err := p.taskOptions(c.Runtime.Name, r.Options); err != nil {
			return plan{}, err
		}
	}
	if from, ok := r.GetCheckpoint().GetAnnotations()["RestoreFromPath"]; ok {
		p.checkpoint, p.unpack = from, true
	}
	return p, nil
}

// taskOptions takes the request's options, which are used in the place of the container's if there is anything in them.
func (p *plan) taskOptions(runtime string, from *anypb.Any) error {
	v, err := typeurl.UnmarshalAny(from)
	if err != nil {
		return fmt.Errorf("task options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	o, ok := v.(*options.Options)
	if !ok {
		return fmt.Errorf("invalid task create option for %s: %w", runtime, errdefs.ErrInvalidArgument)
	}
	p.checkpoint = o.CriuImagePath
	// An older way to say where a sandbox's server is.
	if p.address == "" {
		p.address = o.TaskApiAddress //nolint:staticcheck // clients of containerd 2.0 to 2.2 use it
	}
	if p.version == 0 {
		p.version = int(o.TaskApiVersion) //nolint:staticcheck // see above
	}
	if from.GetValue() != nil {
		p.runtime.Options = from
	}
	return nil
}

// checkFeatures refuses a spec with id-mapped mounts if the runtime cannot do them: those that don't know the setting
// ignore it, and a volume's files then belong to the wrong users.
func (m *Manager) checkFeatures(ctx context.Context, p plan) error {
	// Most specs have neither word, and decoding takes longer than all else here.
	if p.spec == nil || !bytes.Contains(p.spec.GetValue(), []byte("idmap")) && !bytes.Contains(p.spec.GetValue(), []byte("Mappings")) {
		return nil
	}
	var spec specs.Spec
	if err := json.Unmarshal(p.spec.GetValue(), &spec); err != nil {
		return fmt.Errorf("unmarshal spec: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if !slices.ContainsFunc(spec.Mounts, idMapped) {
		return nil
	}
	info, err := m.cfg.Shims.Info(ctx, p.runtime)
	if err != nil {
		return fmt.Errorf("runtime info: %w", err)
	}
	return idMapsSupported(info)
}

func idMapped(m specs.Mount) bool {
	return m.UIDMappings != nil || m.GIDMappings != nil || slices.Contains(m.Options, "idmap") || slices.Contains(m.Options, "ridmap")
}

// featuresType is the type of the features of a runtime of runc's kind.
var featuresType = fmt.Sprintf("types.containerd.io/opencontainers/runtime-spec/%d/features/Features", specs.VersionMajor)

func idMapsSupported(info *types.RuntimeInfo) error {
	if info.GetFeatures().GetTypeUrl() != featuresType {
		return nil // it is of another kind, and may know better
	}
	var f features.Features
	if err := json.Unmarshal(info.Features.Value, &f); err != nil {
		return fmt.Errorf("unmarshal runtime features: %w", err)
	}
	if f.Linux == nil || f.Linux.MountExtensions == nil || f.Linux.MountExtensions.IDMap == nil ||
		f.Linux.MountExtensions.IDMap.Enabled == nil || !*f.Linux.MountExtensions.IDMap.Enabled {
		return fmt.Errorf("idmap mounts not supported: mountExtensions.idmap is not among the runtime's features: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}
