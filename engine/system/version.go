package system

import (
	"cmp"
	"context"
	"runtime"
	"strconv"

	"github.com/moby/moby/api/types/system"

	"github.com/gantry-containers/gantry/engine/config"
)

// Version is about this program and those that it works with.
func (s *Service) Version(ctx context.Context) (*system.VersionResponse, error) {
	c := s.o.Config()
	v := &system.VersionResponse{
		Platform:   system.PlatformInfo{Name: "Gantry"},
		Version:    s.o.Version,
		APIVersion: config.MaxAPI, MinAPIVersion: c.MinAPI,
		Os: runtime.GOOS, Arch: runtime.GOARCH,
		GitCommit: s.o.Commit, GoVersion: runtime.Version(), KernelVersion: kernel(), Experimental: c.Experimental,
	}
	v.Components = []system.ComponentVersion{{
		Name: "Engine", Version: s.o.Version,
		Details: map[string]string{
			"ApiVersion": config.MaxAPI, "MinAPIVersion": c.MinAPI, "GitCommit": s.o.Commit, "GoVersion": runtime.Version(),
			"Os": runtime.GOOS, "Arch": runtime.GOARCH, "KernelVersion": kernel(), "Experimental": strconv.FormatBool(c.Experimental),
		},
	}}
	manager, err := s.managerVersion(ctx)
	if err != nil {
		return nil, err
	}
	v.Components = append(v.Components, component("containerd", manager.Version, manager.Revision))
	if p := s.ask(ctx, s.runtimePath(c)); p.found {
		v.Components = append(v.Components, component(cmp.Or(c.Containers.DefaultRuntime, "runc"), p.version, p.commit))
	}
	if p := s.ask(ctx, cmp.Or(c.Containers.InitPath, "docker-init")); p.found {
		v.Components = append(v.Components, component("docker-init", p.version, p.commit))
	}
	return v, nil
}

func component(name, version, commit string) system.ComponentVersion {
	return system.ComponentVersion{Name: name, Version: version, Details: map[string]string{"GitCommit": commit}}
}
