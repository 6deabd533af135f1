package validate

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// Resources checks linux.resources alone: the limits that an update leads to.
func Resources(r *specs.LinuxResources, facts *host.Facts) []Problem {
	c := &checker{facts: facts, linux: &specs.Linux{}}
	c.resources(r)
	return c.problems
}
