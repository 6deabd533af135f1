package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu"
	"github.com/gantry-containers/gantry/libcontainer/external"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/host"
	"github.com/gantry-containers/gantry/libcontainer/launch"
	"github.com/gantry-containers/gantry/libcontainer/plan"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// RestoreOptions describes a container to make from the files of a checkpoint.
type RestoreOptions struct {
	CreateOptions
	CriuOptions
	TCPClose bool // restore TCP connections closed
	// LSMProfile is the AppArmor profile or SELinux label instead of the dumped one, as
	// criu(8) wants it: "apparmor:NAME" or "selinux:LABEL"; "" keeps the dumped one.
	LSMProfile string
	// LSMMountContext is the SELinux context of mounts instead of the dumped one.
	LSMMountContext string
}

// Restore makes a container from a bundle and the files of a checkpoint: a new one, with
// cgroups and limits as its config.json has them, whose processes go on where they were.
// Detached it returns 0 at once, otherwise what Run does. On error nothing of it is left.
func (r *Runtime) Restore(o *RestoreOptions) (int, error) {
	if err := host.CheckKernel(); err != nil {
		return 0, err
	}
	if err := o.check(); err != nil {
		return 0, err
	}
	return r.runMade(&o.CreateOptions, func() (*creation, error) { return r.restore(o) })
}

// restoration is a creation that CRIU does most of.
type restoration struct {
	*creation
	o       *RestoreOptions
	images  *imageSet
	opts    *criu.Options
	inherit []*os.File // what CRIU gets beside its socket
	later   []plan.Op  // what needs a process: it is CRIU, whose children are where it is
}

// imageSet is what lies beside CRIU's images.
type imageSet struct {
	dirs        *criuDirs
	mounts      []external.Mount
	foreign     bool // runc's: mounts are to be worked out
	descriptors []string
	sources     []external.Source
}

func (r *Runtime) restore(o *RestoreOptions) (*creation, error) {
	images, err := o.openImages()
	if err != nil {
		return nil, err
	}
	defer images.dirs.close()
	o.notifyDir = slices.ContainsFunc(images.mounts, func(m external.Mount) bool { return m.Name == notifyDirInside })
	in, err := r.takeIn(&o.CreateOptions, true)
	if err != nil {
		return nil, err
	}
	c := &restoration{creation: &creation{r: r, o: &o.CreateOptions, in: in}, o: o, images: images}
	defer c.closeInherited()
	if err := c.describe(); err != nil {
		return nil, err
	}
	if c.dir, err = state.Create(r.Root, o.ID); err != nil {
		return nil, err
	}
	if err := c.build(); err != nil {
		return nil, errors.Join(err, c.undo())
	}
	return c.creation, nil
}

// openImages reads what can be read before anything is made.
func (o *RestoreOptions) openImages() (*imageSet, error) {
	version, err := criu.Installed()
	if err != nil {
		return nil, err
	}
	if err := version.Need(leastCriu, "restore"); err != nil {
		return nil, err
	}
	const leastForLSM = 31600
	if o.LSMProfile != "" || o.LSMMountContext != "" {
		if err := version.Need(leastForLSM, "restore --lsm-profile or --lsm-mount-context"); err != nil {
			return nil, err
		}
	}
	s := &imageSet{}
	if s.dirs, err = o.openDirs("restore.log", false); err != nil {
		return nil, err
	}
	s.mounts, err = external.LoadMounts(s.dirs.images)
	if s.foreign = err == external.ErrNoMounts; s.foreign {
		err = nil
	}
	if err == nil {
		s.descriptors, err = external.LoadDescriptors(s.dirs.images)
	}
	if err != nil {
		s.dirs.close()
		return nil, fault.FlagFailed.Atf("--image-path", "%s: %w", o.ImagePath, err)
	}
	return s, nil
}

// build does everything that leaves traces.
func (c *restoration) build() error {
	if err := c.record(); err != nil {
		return err
	}
	if err := c.openNotify(true); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	var err error
	if c.tty, err = openTerminal(c.in.spec.Process, &c.o.LaunchOptions); err != nil {
		return err
	}
	if c.tty != nil {
		c.stop = append(c.stop, c.tty.closeSocket)
	}
	call := &criu.Call{
		Type: criu.Restore, Options: c.opts, Log: c.images.dirs.log,
		Files: c.inherit, Stdio: true, Start: startApart(c.prepareRoot), Started: c.joinCgroups, Notify: c.notified,
	}
	resp, err := call.Do()
	if err != nil {
		return err
	}
	return c.adopt(resp.PID)
}

// prepare does what of the plan is not in the images and comes before the processes.
func (c *restoration) prepare() error {
	for i := range c.in.plan.Ops {
		op := &c.in.plan.Ops[i]
		switch a := op.Do.(type) {
		case *plan.OwnStdio:
			launch.OwnStdio(a)
		case *plan.CreateScope, *plan.JoinResctrlGroup:
			c.later = append(c.later, *op)
		case *plan.CreateCgroups, *plan.WriteCgroup, *plan.SetDevices, *plan.MakeResctrlGroup, *plan.WriteSchemata:
			if c.scopePending() { // the cgroup with these files is yet to be made
				c.later = append(c.later, *op)
			} else if err := c.perform(op, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *restoration) scopePending() bool {
	return slices.ContainsFunc(c.later, func(op plan.Op) bool {
		_, ok := op.Do.(*plan.CreateScope)
		return ok
	})
}

// joinCgroups puts CRIU where its children are to be: modes of CRIU that leave cgroups
// alone leave them there.
func (c *restoration) joinCgroups(pid int) error {
	for i := range c.later {
		if err := c.perform(&c.later[i], &launch.Process{PID: pid, PIDFD: -1}); err != nil {
			return err
		}
	}
	if c.set == nil {
		return nil
	}
	if err := c.set.AddProcess(pid); err != nil {
		return fault.CgroupFailed.At("linux.cgroupsPath", err)
	}
	return nil
}

// notified does our part at CRIU's steps.
func (c *restoration) notified(n *criu.Notification) error {
	p := &launch.Process{PID: n.PID, PIDFD: -1}
	switch n.Script {
	case "setup-namespaces":
		for i := range c.in.plan.Ops {
			op := &c.in.plan.Ops[i]
			if h, ok := op.Do.(*plan.RunHooks); ok && !h.InContainer {
				if err := c.perform(op, p); err != nil {
					return err
				}
			}
		}
	case "orphan-pts-master":
		return c.sendMaster(n.FD)
	case "post-restore": // nothing in the container runs yet
		if err := external.Verify(n.PID, c.images.sources, c.in.spec.Root.Readonly); err != nil {
			return fault.CRIUFailed.Of("", err)
		}
		return c.commit(p)
	}
	return nil
}

// sendMaster hands on the master of the container's terminal, which CRIU has made anew.
func (c *restoration) sendMaster(fd int) error {
	if c.tty == nil || fd < 0 {
		return fault.Atf("process.terminal", "the dumped process has a terminal, config.json says it has none: %w", unix.EINVAL)
	}
	if err := unix.Sendmsg(c.tty.socket, []byte("/dev/pts/ptmx"), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL); err != nil {
		return fault.Atf("process.terminal", "send the master: %w", err)
	}
	return nil
}

// adopt makes the restored process, which is our child, the creation's.
func (c *restoration) adopt(pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("pidfd of the restored process %d: %w", pid, err)
	}
	c.proc = &launch.Process{PID: pid, PIDFD: pidfd}
	return c.handOver()
}

func (c *restoration) closeInherited() {
	for _, f := range c.inherit {
		_ = f.Close()
	}
}
