package libcontainer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/internal/bug"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
	"github.com/gantry-containers/gantry/libcontainer/validate"
)

// AddMounts mounts in a running container what a file lists, a JSON array like mounts of
// config.json. If one fails, those before it are taken away again.
func (r *Runtime) AddMounts(id, file string) error {
	c, err := r.mountChange(id, file)
	if err != nil {
		return err
	}
	defer c.close()
	if problems := validate.AddedMounts(c.in.Mounts, c.in.Config, c.in.Facts); len(problems) > 0 {
		return &validate.Error{Problems: problems}
	}
	if err := checkProcBinds(c.in.Bundle, c.in.Mounts); err != nil {
		return err
	}
	p, err := plan.AddMounts(&c.in)
	if err != nil {
		return err
	}
	if err := c.run(p); err != nil {
		return errors.Join(err, c.takeBack(p, err))
	}
	return nil
}

// RemoveMounts unmounts in a running container the destinations that a file lists, in the
// format of AddMounts.
func (r *Runtime) RemoveMounts(id, file string) error {
	c, err := r.mountChange(id, file)
	if err != nil {
		return err
	}
	defer c.close()
	if problems := validate.RemovedMounts(c.in.Mounts, c.in.Config, c.in.Facts); len(problems) > 0 {
		return &validate.Error{Problems: problems}
	}
	return c.run(plan.RemoveMounts(&c.in))
}

// mountChange is a change of a running container's mounts.
type mountChange struct {
	in    plan.MountsInput
	dir   *state.Dir // locked against other commands
	pidfd int
	set   *cgroup.Set
}

func (c *mountChange) close() {
	_ = unix.Close(c.pidfd)
	_ = c.dir.Close()
}

// mountChange reads the list and looks at the container.
func (r *Runtime) mountChange(id, file string) (*mountChange, error) {
	raw, err := bundle.ReadFile(file)
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("open %s: %w", file, unix.ENOENT)
	}
	if err != nil {
		return nil, fault.FlagFailed.Of("", err)
	}
	mounts, err := bundle.DecodeMounts(raw)
	if err != nil {
		return nil, fault.ConfigInvalid.Errorf("%s: %w", file, err)
	}
	if err := launch.ProtectExe(); err != nil {
		return nil, err
	}
	dir, st, err := r.loadLocked(id)
	if err != nil {
		return nil, err
	}
	c := &mountChange{dir: dir, pidfd: -1, set: cgroup.FromState(st.CgroupPaths)}
	c.in.Mounts, c.in.Bundle = mounts, st.Bundle
	if err := c.describe(st); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *mountChange) describe(st *state.State) (err error) {
	raw, err := c.dir.Config()
	if err != nil {
		return err
	}
	if c.in.Config, _, err = bundle.Decode(raw); err != nil {
		return err
	}
	if c.in.Facts, err = host.ProbeSelf(); err != nil {
		return err
	}
	c.in.Facts.Cgroup = cgroupFacts(st.CgroupPaths)
	c.in.HasCgroups = len(st.CgroupPaths) > 0
	if c.pidfd, err = openInit(st.Init); err != nil {
		return err
	}
	target, err := launch.NewTarget(st.Init.PID, c.pidfd)
	if err != nil {
		return err
	}
	c.in.Namespaces = target.Namespaces
	if !slices.Contains(target.Namespaces, "mount") {
		return fault.Unsupported.Atf("linux.namespaces", "the container has no mount namespace of its own")
	}
	if slices.Contains(target.Namespaces, "user") {
		c.in.UserNS = "/proc/" + strconv.Itoa(st.Init.PID) + "/ns/user"
		c.in.DenySetgroups = deniesSetgroups(st.Init.PID)
	}
	return nil
}

// run carries out a plan in the container and waits for its end.
func (c *mountChange) run(p *plan.Plan) error {
	l := &launch.Launch{
		Plan: p, Target: c.pidfd, Start: -1, Console: -1,
		CgroupProcs: func(names []string) (map[string]int, error) { return procsOf(c.set, names) },
		Perform: func(op *plan.Op, _ *launch.Process) error {
			bug.Found("nobody performs " + op.Do.String())
			return nil
		},
	}
	process, err := l.Run()
	if err != nil {
		return err
	}
	defer unix.Close(process.PIDFD)
	status, err := process.Wait()
	if err == nil && (!status.Exited() || status.ExitStatus() != 0) {
		err = launch.ErrVanished
	}
	return err
}

// takeBack unmounts, in reverse, what a plan had mounted before an operation failed.
func (c *mountChange) takeBack(p *plan.Plan, cause error) error {
	var failed *launch.Error
	if !errors.As(cause, &failed) || failed.Op == nil {
		return nil
	}
	var done []specs.Mount
	for i := range p.Ops {
		if p.Ops[i].Do == failed.Op {
			break
		}
		switch a := p.Ops[i].Do.(type) {
		case *plan.BindMount:
			done = append(done, specs.Mount{Destination: a.Destination})
		case *plan.AttachFilesystem:
			done = append(done, specs.Mount{Destination: a.Destination})
		}
	}
	if len(done) == 0 {
		return nil
	}
	slices.Reverse(done)
	c.in.Mounts = done
	if err := c.run(plan.RemoveMounts(&c.in)); err != nil {
		return fault.LaunchFailed.Errorf("take back what was mounted before: %w", err)
	}
	return nil
}
