package plan

import (
	"errors"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// resourcesField is where the limits are in config.json.
const resourcesField = "linux.resources."

// resourceWrite is the write of one limit and the field that asks for it.
type resourceWrite struct {
	Field string // JSON path in config.json
	Write WriteCgroup
}

// limits collects the writes that put the container's resource limits in force, and
// the fields that can't be.
type limits struct {
	cgroup *host.Cgroup
	writes []resourceWrite
	errs   []error
}

// resourceWrites compiles every limit of linux.resources but devices to writes into
// fresh cgroups, in the order that the kernel needs. A limit whose controller the
// machine lacks is an error: a container must not run without a limit that
// config.json asks for. The error has every *Problem.
func resourceWrites(res *specs.LinuxResources, facts *host.Facts) ([]resourceWrite, error) {
	if res == nil {
		return nil, nil
	}
	l := &limits{cgroup: &facts.Cgroup}
	l.pids(res.Pids)
	l.memory(res.Memory)
	l.blockIO(res.BlockIO)
	l.cpu(res.CPU)
	l.cpuset(res.CPU)
	l.hugepages(res.HugepageLimits)
	l.network(res.Network)
	l.rdma(res.Rdma)
	l.unified(res.Unified)
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return l.writes, nil
}

// refuse records that the field can't be honoured.
func (l *limits) refuse(field, why string) {
	l.errs = append(l.errs, &Problem{resourcesField + field, why})
}

// find returns the hierarchy of the controller; without one it refuses the field
// and returns nil.
func (l *limits) find(controller, field string) *host.Hierarchy {
	h := l.cgroup.Find(controller)
	if h == nil {
		l.refuse(field, "cgroup controller "+controller+" is not available")
	}
	return h
}

// noV2 refuses a field that cgroup v2 has nothing for.
func (l *limits) noV2(field string) { l.refuse(field, "cgroup v2 has no such setting") }

// put appends the write of one file.
func (l *limits) put(h *host.Hierarchy, field, file, value string) {
	l.append(field, WriteCgroup{Hierarchy: h.Name, File: file, Value: value})
}

// try appends the write of a file that the kernel may lack.
func (l *limits) try(h *host.Hierarchy, field, file, value string) {
	l.append(field, WriteCgroup{Hierarchy: h.Name, File: file, Value: value, MayMiss: true})
}

func (l *limits) append(field string, w WriteCgroup) {
	l.writes = append(l.writes, resourceWrite{resourcesField + field, w})
}

func (l *limits) pids(p *specs.LinuxPids) {
	const field = "pids.limit"
	if p == nil || p.Limit == nil {
		return
	}
	if *p.Limit < 0 && l.cgroup.Find("pids") == nil {
		return // there is none to be had, which is what was asked for
	}
	h := l.find("pids", field)
	if h == nil {
		return
	}
	value := "max"
	switch limit := *p.Limit; {
	case limit > 0:
		value = strconv.FormatInt(limit, 10)
	case limit == 0:
		// As runc: 0 forbids to fork; the one process that joins is never counted out.
		value = "1"
	}
	l.put(h, field, "pids.max", value)
}

// element names an element of an array in a field.
func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
