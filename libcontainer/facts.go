package libcontainer

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// factsFor asks the machine for what the plan of a config must know. What few configs need
// is asked only for them.
func factsFor(spec *specs.Spec) (*host.Facts, error) {
	facts, err := host.Probe()
	if err != nil {
		return nil, err
	}
	if spec.Linux != nil && spec.Linux.IntelRdt != nil {
		if facts.Resctrl, err = host.Resctrl(); err != nil {
			return nil, err
		}
	}
	if spec.Process != nil && plan.Labelled(spec.Process, spec.Linux) {
		facts.LSM = host.ProbeLSM()
	}
	return facts, nil
}
