package containers

import (
	"maps"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// merge completes a container's configuration by its image's.
func merge(c *api.Config, img *dockerspec.DockerOCIImageConfig) {
	if c.User == "" {
		c.User = img.User
	}
	mergePorts(c, img.ExposedPorts)
	mergeEnv(c, img.Env)
	labels := maps.Clone(img.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		// An empty list, other than none, is a client's wish for no entrypoint.
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	mergeHealthcheck(c, img.Healthcheck)
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if len(c.Volumes) == 0 {
		c.Volumes = maps.Clone(img.Volumes)
	} else {
		for v := range img.Volumes {
			c.Volumes[v] = struct{}{}
		}
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
}

func mergePorts(c *api.Config, ports map[string]struct{}) {
	for name := range ports {
		p, err := network.ParsePort(name)
		if err != nil {
			continue // An image may say anything; what is no port cannot be exposed.
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
}

func mergeEnv(c *api.Config, env []string) {
	set := map[string]bool{}
	for _, e := range c.Env {
		k, _, _ := strings.Cut(e, "=")
		set[k] = true
	}
	for _, e := range env {
		if k, _, _ := strings.Cut(e, "="); !set[k] {
			c.Env = append(c.Env, e)
		}
	}
}

func mergeHealthcheck(c *api.Config, img *dockerspec.HealthcheckConfig) {
	if img == nil {
		return
	}
	h := api.HealthConfig{}
	if c.Healthcheck != nil {
		h = *c.Healthcheck
	}
	if len(h.Test) == 0 {
		h.Test = img.Test
	}
	if h.Interval == 0 {
		h.Interval = img.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = img.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = img.StartPeriod
	}
	if h.StartInterval == 0 {
		h.StartInterval = img.StartInterval
	}
	if h.Retries == 0 {
		h.Retries = img.Retries
	}
	c.Healthcheck = &h
}
