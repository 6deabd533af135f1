package buildkit

import (
	"context"
	"log/slog"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
)

// sweep takes away the containers of steps that a daemon has left which was killed, for which it has no other way to find
// them, and their networks. Only while none runs.
func (s *Service) sweep(ctx context.Context) {
	defer s.discard(ctx)
	list, err := s.o.Manager.Containers(ctx)
	if err != nil {
		slog.Error("containers of builds may be left", "error", err)
		return
	}
	parent := s.o.Settings().cgroupParent()
	for _, c := range list {
		if !isStep(ctx, c, parent) {
			continue
		}
		if t, err := c.Task(ctx, nil); err == nil {
			if _, err := t.Delete(ctx, containerd.WithProcessKill); err != nil {
				slog.Error("a step of a build is left", "container", c.ID(), "error", err)
				continue
			}
		}
		if err := c.Delete(ctx); err != nil {
			slog.Error("a container of a build is left", "container", c.ID(), "error", err)
		}
	}
}

// isStep knows a step of ours by its cgroup.
func isStep(ctx context.Context, c containerd.Container, parent string) bool {
	info, err := c.Info(ctx, containerd.WithoutRefreshedMetadata)
	if err != nil || len(info.Labels) > 0 {
		return false
	}
	spec, err := c.Spec(ctx)
	return err == nil && spec.Linux != nil && strings.HasPrefix(spec.Linux.CgroupsPath, parent+"/")
}
