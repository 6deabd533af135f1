package cgroup

import (
	"fmt"
	"io/fs"
	"path"

	"github.com/gantry-containers/gantry/shim/api/known"
	"github.com/gantry-containers/gantry/shim/mountinfo"
)

// Cgroup is where a process was when it was looked up.
type Cgroup struct {
	controllers []v1Dir // none where v2 is alone
	unified     string  // the directory in v2 if that counts; "" where v1 does
}

// v1Dir is the cgroup's directory for one of v1's controllers.
type v1Dir struct{ controller, dir string }

// Of finds the cgroup of a process, by /proc/PID/cgroup and the mounted hierarchies.
func Of(pid int) (*Cgroup, error) {
	c, err := find(fmt.Sprintf("/proc/%d/cgroup", pid), mountinfo.Self)
	if err != nil {
		return nil, fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	return c, nil
}

// Parent is the cgroup above it, as that of a pod is above those of its containers.
func (c *Cgroup) Parent() *Cgroup {
	p := &Cgroup{}
	for _, v := range c.controllers {
		p.controllers = append(p.controllers, v1Dir{v.controller, path.Dir(v.dir)})
	}
	if c.unified != "" {
		p.unified = path.Dir(c.unified)
	}
	return p
}

// The names of the messages that containerd's clients know. They are type URLs as they are.
const (
	typeV1 = "io.containerd.cgroups.v1.Metrics"
	typeV2 = "io.containerd.cgroups.v2.Metrics"
)

// Stats reads the statistics: an Any with io.containerd.cgroups.v1.Metrics where there are hierarchies of v1, and
// with io.containerd.cgroups.v2.Metrics where v2 is alone. The error is fs.ErrNotExist where the cgroup has gone.
func (c *Cgroup) Stats() (*known.Any, error) {
	if c.unified == "" {
		m, err := c.metricsV1()
		return marshal(typeV1, m, err)
	}
	m, err := metricsV2(c.unified)
	return marshal(typeV2, m, err)
}

func marshal(name string, m interface{ MarshalVT() ([]byte, error) }, err error) (*known.Any, error) {
	if err != nil {
		return nil, err
	}
	value, err := m.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &known.Any{TypeUrl: name, Value: value}, nil
}

// dir is the cgroup in the hierarchy of one of v1's controllers, or "".
func (c *Cgroup) dir(controller string) string {
	for _, v := range c.controllers {
		if v.controller == controller {
			return v.dir
		}
	}
	return ""
}

// gone is the error of a cgroup that is not there any more.
func gone(dir string) error { return fmt.Errorf("cgroup %s: %w", dir, fs.ErrNotExist) }
