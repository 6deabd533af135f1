package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	_ "github.com/containerd/cgroups/v3/cgroup1/stats" // what Metrics unmarshals
	_ "github.com/containerd/cgroups/v3/cgroup2/stats"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Update sets resources of a running container.
func (s *Service) Update(ctx context.Context, id string, resources *specs.LinuxResources) error {
	marshaled, err := typeurl.MarshalAnyToProto(resources)
	if err != nil {
		return err
	}
	_, err = s.client.TaskService().Update(ctx, &tasksapi.UpdateTaskRequest{ContainerID: id, Resources: marshaled})
	return errgrpc.ToNative(err)
}

// Metrics is a sample of a container's cgroup: *stats.Metrics of containerd's cgroup1 or cgroup2 types.
func (s *Service) Metrics(ctx context.Context, id string) (any, time.Time, error) {
	r, err := s.client.TaskService().Metrics(ctx, &tasksapi.MetricsRequest{Filters: []string{"id==" + id}})
	if err != nil {
		return nil, time.Time{}, errgrpc.ToNative(err)
	}
	if len(r.GetMetrics()) == 0 {
		return nil, time.Time{}, fmt.Errorf("metrics of %s: %w", id, errdefs.ErrNotFound)
	}
	m := r.GetMetrics()[0]
	v, err := typeurl.UnmarshalAny(m.GetData())
	return v, at(m.GetTimestamp()), err
}

// Labels are those of the manager's record of a container.
func (s *Service) Labels(ctx context.Context, id string) (map[string]string, error) {
	c, err := s.client.ContainerService().Get(ctx, id)
	return c.Labels, err
}

// Records are the ids of the manager's records with a label, whether they have a task or not.
func (s *Service) Records(ctx context.Context, label, value string) ([]string, error) {
	list, err := s.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%q", label, value))
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(list))
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// Spec is what a container runs with.
func (s *Service) Spec(ctx context.Context, id string) (*specs.Spec, error) {
	c, err := s.client.ContainerService().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.Spec == nil {
		return nil, fmt.Errorf("spec of %s: %w", id, errdefs.ErrNotFound)
	}
	var spec specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("spec of %s: %w", id, err)
	}
	if spec.Process == nil {
		spec.Process = &specs.Process{}
	}
	return &spec, nil
}
