package changes

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Merge completes a configuration by another one, as a container's is by its image's: lists of variables, ports, volumes
// and labels are joined, everything else is taken where nothing is said. Neither changes.
func Merge(config, base *container.Config) *container.Config {
	c := Clone(config)
	if c.User == "" {
		c.User = base.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = base.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = base.StopSignal
	}
	c.Env = joinEnv(c.Env, base.Env)
	if c.ExposedPorts == nil && base.ExposedPorts != nil {
		c.ExposedPorts = network.PortSet{}
	}
	maps.Copy(c.ExposedPorts, base.ExposedPorts)
	if c.Volumes == nil && base.Volumes != nil {
		c.Volumes = map[string]struct{}{}
	}
	maps.Copy(c.Volumes, base.Volumes)
	labels := map[string]string{}
	maps.Copy(labels, base.Labels)
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(base.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(base.Entrypoint)
		}
	}
	c.Healthcheck = mergeHealth(c.Healthcheck, base.Healthcheck)
	return c
}

// joinEnv adds the variables of another list that are not set yet.
func joinEnv(env, base []string) []string {
	set := map[string]bool{}
	for _, v := range env {
		k, _, _ := strings.Cut(v, "=")
		set[k] = true
	}
	for _, v := range base {
		if k, _, _ := strings.Cut(v, "="); !set[k] {
			env = append(env, v)
		}
	}
	return env
}

func mergeHealth(h, base *container.HealthConfig) *container.HealthConfig {
	if h == nil || base == nil {
		if h == nil {
			return base
		}
		return h
	}
	m := *h
	if len(m.Test) == 0 {
		m.Test = base.Test
	}
	if m.Interval == 0 {
		m.Interval = base.Interval
	}
	if m.Timeout == 0 {
		m.Timeout = base.Timeout
	}
	if m.StartPeriod == 0 {
		m.StartPeriod = base.StartPeriod
	}
	if m.StartInterval == 0 {
		m.StartInterval = base.StartInterval
	}
	if m.Retries == 0 {
		m.Retries = base.Retries
	}
	return &m
}
