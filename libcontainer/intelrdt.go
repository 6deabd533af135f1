package libcontainer

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/resctrl"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// makeResctrl makes the container's class of service and records what was made, so that
// delete removes it should the runtime be killed.
func (c *creation) makeResctrl(op *plan.Op, a *plan.MakeResctrlGroup) (err error) {
	c.st.IntelRdt, err = resctrl.At(a.Root).Make(a)
	if err != nil {
		return fault.CgroupFailed.At(op.Field, err)
	}
	return c.dir.Save(c.st)
}

// joinOf says how an exec'ed process gets where the container is; nil when that is nowhere,
// or gone since.
func joinOf(place *state.IntelRdt) *plan.JoinResctrlGroup {
	if place.Group == "" || unix.Access(place.Group, unix.F_OK) != nil {
		return nil
	}
	return &plan.JoinResctrlGroup{Group: place.Group, Monitor: place.Monitor}
}

// The fields that `update` changes, and what runc answers where it can't.
const (
	cacheSchemaField     = "linux.intelRdt.l3CacheSchema"
	bandwidthSchemaField = "linux.intelRdt.memBwSchema"
)

const (
	noCache     = "Intel RDT/CAT: l3 cache schema is not enabled"
	noBandwidth = "Intel RDT/MBA: memory bandwidth schema is not enabled"
	noIntelRdt  = "updating a non-existent Intel RDT configuration is not supported"
)

// schemaUpdate is a change of a container's schemata.
type schemaUpdate struct {
	tree   *resctrl.Tree
	writes []plan.Op
	merged *specs.LinuxIntelRdt
}

// planSchemas checks what --l3-cache-schema and --mem-bw-schema ask for; nil is nothing.
func planSchemas(o *UpdateOptions, spec *specs.Spec, place *state.IntelRdt) (*schemaUpdate, error) {
	if o.L3CacheSchema == "" && o.MemBwSchema == "" {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	root := place.Root
	if root == "" {
		var err error
		if root, err = host.Resctrl(); err != nil {
			return nil, err
		}
	}
	u := &schemaUpdate{tree: resctrl.At(root), merged: &specs.LinuxIntelRdt{}}
	add := func(field, schema string, there bool, missing string) error {
		if schema == "" {
			return nil
		}
		if root == "" || !there {
			return &UpdateError{field, fault.Unsupported.Errorf("%s", missing)}
		}
		if place.Group == "" || spec.Linux == nil || spec.Linux.IntelRdt == nil {
			return &UpdateError{field, fault.Unsupported.Errorf(noIntelRdt)}
		}
		u.writes = append(u.writes, plan.Op{Field: field, Do: &plan.WriteSchemata{Group: place.Group, Lines: []string{schema}}})
		return nil
	}
	if err := add(cacheSchemaField, o.L3CacheSchema, u.tree.HasCache(), noCache); err != nil {
		return nil, err
	}
	if err := add(bandwidthSchemaField, o.MemBwSchema, u.tree.HasBandwidth(), noBandwidth); err != nil {
		return nil, err
	}
	*u.merged = *spec.Linux.IntelRdt
	if o.L3CacheSchema != "" {
		u.merged.L3CacheSchema = o.L3CacheSchema
	}
	if o.MemBwSchema != "" {
		u.merged.MemBwSchema = o.MemBwSchema
	}
	if problems := validate.IntelRdt(u.merged); len(problems) > 0 {
		return nil, &validate.Error{Problems: problems}
	}
	return u, nil
}

// write writes the schemata, all or none.
func (u *schemaUpdate) write() (undo func() error, err error) {
	if u == nil {
		return func() error { return nil }, nil
	}
	group := u.writes[0].Do.(*plan.WriteSchemata).Group
	old, err := resctrl.Schemata(group)
	if err != nil {
		return nil, &UpdateError{u.writes[0].Field, err}
	}
	undo = func() error { return u.tree.Write(&plan.WriteSchemata{Group: group, Lines: old}) }
	for i := range u.writes {
		if err := u.tree.Write(u.writes[i].Do.(*plan.WriteSchemata)); err != nil {
			err = &UpdateError{u.writes[i].Field, err}
			if i > 0 {
				err = errors.Join(err, undo())
			}
			return nil, err
		}
	}
	return undo, nil
}
