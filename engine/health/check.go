package health

import (
	"log/slog"
	"time"

	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
)

// Docker's defaults for what a health check leaves open, and its bounds for what is kept of answers.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
	maxOutput            = 4096 // bytes
	maxLog               = 5    // results
)

// check is a container's health check with its defaults.
type check struct {
	cmd                                           []string
	interval, timeout, startPeriod, startInterval time.Duration
	retries                                       int
}

// checkOf is false for a container without a health check.
func checkOf(c *container.Container) (check, bool) {
	if c.Config == nil || c.Config.Healthcheck == nil || len(c.Config.Healthcheck.Test) == 0 {
		return check{}, false
	}
	h := c.Config.Healthcheck
	ck := check{
		cmd:      h.Test[1:],
		interval: or(h.Interval, defaultInterval), timeout: or(h.Timeout, defaultTimeout),
		startPeriod: h.StartPeriod, startInterval: or(h.StartInterval, defaultStartInterval),
		retries: h.Retries,
	}
	if ck.retries <= 0 {
		ck.retries = defaultRetries
	}
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		shell := c.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		ck.cmd = append(append([]string{}, shell...), ck.cmd...)
	case "NONE":
		return check{}, false
	default:
		slog.Warn("health check of an unknown type", "type", h.Test[0], "container", c.ID)
		return check{}, false
	}
	return ck, true
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// pause is how long after one probe the next one comes. While a container starts, that is the start interval, but not
// past the end of the start period.
func (c *check) pause(sinceStart time.Duration, status api.HealthStatus) time.Duration {
	if sinceStart >= c.startPeriod || status != api.Starting {
		return c.interval
	}
	return min(c.startInterval, c.startPeriod-sinceStart)
}

// after is the health after one more result. A failure within the start period does not count while the container has
// never been healthy.
func (c *check) after(old *api.Health, r *api.HealthcheckResult, started time.Time) *api.Health {
	h := &api.Health{Status: old.Status, FailingStreak: old.FailingStreak}
	h.Log = append(h.Log, old.Log[max(0, len(old.Log)+1-maxLog):]...)
	h.Log = append(h.Log, r)
	switch {
	case r.ExitCode == 0:
		h.Status, h.FailingStreak = api.Healthy, 0
	case h.Status == api.Starting && r.Start.Sub(started) < c.startPeriod:
	default:
		h.FailingStreak++
		if h.FailingStreak >= c.retries {
			h.Status = api.Unhealthy
		}
	}
	return h
}
