package validate

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// IntelRdt checks linux.intelRdt alone.
func IntelRdt(r *specs.LinuxIntelRdt) []Problem {
	c := &checker{linux: &specs.Linux{}}
	c.intelRdt(r)
	return c.problems
}

// Resources checks linux.resources alone: the limits that an update leads to.
func Resources(r *specs.LinuxResources, facts *host.Facts) []Problem {
	c := &checker{facts: facts, linux: &specs.Linux{}}
	c.resources(r)
	return c.problems
}
