package libcontainer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/systemd"
)

// scope is the unit in which systemd keeps a container.
type scope struct {
	name string
	user bool // of the user's own manager
}

// scopeOf is the container's unit, nil when the runtime made its cgroups itself.
func scopeOf(st *state.State) *scope {
	if st.Unit == "" {
		return nil
	}
	return &scope{st.Unit, st.UserUnit}
}

// userManager reports whether a container's unit is one of the user's own manager.
func userManager(facts *host.Facts) bool {
	return facts.UID != 0 || facts.UserNS && !systemd.OwnsSystem()
}

// createScope has systemd make the unit with the child in it, and takes over its cgroups.
func (c *creation) createScope(op *plan.Op, a *plan.CreateScope, p *launch.Process) error {
	err := c.startScope(a, p)
	if refused, ok := errors.AsType[*systemd.Error](err); ok {
		if field := annotationIn(refused.Message, c.in.spec.Annotations); field != "" {
			return fault.CgroupFailed.At(field, err)
		}
	}
	return fault.CgroupFailed.At(op.Field, err)
}

// annotationIn names the annotation that systemd's complaint is about, if it is one's.
func annotationIn(message string, annotations map[string]string) string {
	for key := range annotations {
		if p, ok := plan.AnnotatedName(key); ok && strings.Contains(message, p+",") {
			return `annotations["` + key + `"]`
		}
	}
	return ""
}

func (c *creation) startScope(a *plan.CreateScope, p *launch.Process) error {
	properties := a.Properties
	if len(a.Devices) > 0 {
		devices, err := systemd.DeviceProperties(a.Devices)
		if err != nil {
			return err
		}
		properties = slices.Concat(devices, properties) // an annotation's has the last word
	}
	m, err := systemd.Open(a.Unit.User)
	if err != nil {
		return err
	}
	defer m.Close()
	if c.set == nil {
		c.set = cgroup.FromState(nil)
	}
	err = m.StartScope(a.Unit.Name, properties, p.PID)
	if refused := new(systemd.Error); !errors.As(err, &refused) {
		// A manager that did not answer may have made it; one that refused has made nothing,
		// and a unit of that name is somebody else's.
		c.scope = &scope{a.Unit.Name, a.Unit.User}
	}
	if err != nil {
		return err
	}
	places, err := host.UnitCgroups(p.PID, a.Unit.Name, &c.in.facts.Cgroup)
	if err != nil {
		return err
	}
	for _, at := range places {
		c.set.Adopt(&plan.Cgroup{Hierarchy: at.Hierarchy, Mount: at.Mount, Path: at.Path})
	}
	c.oom = watchOOM(c.in.spec, c.set)
	c.st.CgroupPaths = c.set.Paths()
	// From here on delete --force finds it all.
	return c.save(p)
}

// stopScope ends the unit. Without a process systemd may have forgotten it already, and
// where systemd itself is gone the cgroups are all that is left of it: neither is an error,
// what remains is found when the cgroups are removed.
func (r *Runtime) stopScope(s *scope, cgroups *cgroup.Set) {
	if cgroups.Gone() {
		return
	}
	m, err := systemd.Open(s.user)
	if err == nil {
		defer m.Close()
		err = m.Stop(s.name)
	}
	if err != nil {
		r.warn(fmt.Sprintf("%s: %v", s.name, err))
	}
}

// stopAbandoned ends the unit of a creation that was killed while systemd worked for it. It
// has no process: the only one ended with the runtime, maybe before systemd had put it there,
// and then nothing tells systemd that the scope is empty. One with processes is another's.
func (r *Runtime) stopAbandoned(s *scope) {
	m, err := systemd.Open(s.user)
	if err != nil {
		r.warn(fmt.Sprintf("%s: %v", s.name, err))
		return
	}
	defer m.Close()
	const attempts, interval = 20, 20 * time.Millisecond // its process may be about to end
	for range attempts {
		used, err := m.HasProcesses(s.name)
		if err == nil && !used {
			err = m.Stop(s.name)
		}
		if err != nil {
			r.warn(fmt.Sprintf("%s: %v", s.name, err))
		}
		if err != nil || !used {
			return
		}
		time.Sleep(interval)
	}
	r.warn(s.name + " is in use and stays")
}

// killUnit ends a unit with all its processes, where its cgroups are not known.
func killUnit(s *scope) error {
	m, err := systemd.Open(s.user)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Kill(s.name)
}
