package libcontainer

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu"
	"github.com/gantry-containers/gantry/libcontainer/external"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/plan"
)

// describe fills in the request for CRIU.
func (c *restoration) describe() error {
	o, s := c.o, c.images
	c.opts = o.request(s.dirs, c.in.rootfs, c.in.spec.Annotations)
	c.opts.RestoreSibling = true
	c.opts.EvasiveDevices = true
	c.opts.TCPClose = o.TCPClose
	c.opts.LSMProfile = o.LSMProfile
	c.opts.LSMMountContext = o.LSMMountContext
	var err error
	if s.foreign {
		if s.mounts, err = external.Resolve(c.in.rootfs, c.in.plan); err != nil {
			return err
		}
	}
	if s.foreign { // runc calls all its masks so
		c.opts.ExternalMounts = []criu.Pair{{Key: external.NullPath, Value: external.NullPath}}
	}
	if s.sources, err = external.Sources(s.mounts, c.in.plan); err != nil {
		return err
	}
	for i := range s.sources {
		m := &s.sources[i]
		c.opts.ExternalMounts = append(c.opts.ExternalMounts, criu.Pair{Key: m.Key(), Value: m.Path()})
	}
	for fd, key := range s.descriptors {
		if external.IsPipe(key) || external.IsFile(key) {
			c.opts.InheritFDs = append(c.opts.InheritFDs, criu.InheritedFD{Key: key, FD: fd})
		}
	}
	c.describeCgroups()
	return c.describeNamespaces()
}

// describeCgroups replaces the dumped cgroups: those of the new container may have other
// names.
func (c *restoration) describeCgroups() {
	for i := range c.in.plan.Ops {
		switch a := c.in.plan.Ops[i].Do.(type) {
		case *plan.CreateCgroups:
			for j := range a.Cgroups {
				c.placeCgroup(a.Cgroups[j].Hierarchy, a.Cgroups[j].Path)
			}
		case *plan.CreateScope: // systemd has hierarchies of its own: its name and v2
			for j := range c.in.facts.Cgroup.Hierarchies {
				if h := &c.in.facts.Cgroup.Hierarchies[j]; h.Named || h.Unified() {
					c.placeCgroup(h.Name, a.Unit.Path())
				}
			}
		}
	}
}

func (c *restoration) placeCgroup(hierarchy, path string) {
	name := hierarchy
	if h := c.in.facts.Cgroup.Hierarchy(hierarchy); h != nil && h.Named {
		name = "name=" + name
	}
	c.opts.CgroupRoots = append(c.opts.CgroupRoots, criu.Pair{Key: name, Value: path})
}

// describeNamespaces has CRIU join the namespaces that config.json names by path.
func (c *restoration) describeNamespaces() error {
	if c.in.spec.Linux == nil {
		return nil
	}
	for i := range c.in.spec.Linux.Namespaces {
		n := &c.in.spec.Linux.Namespaces[i]
		if n.Path == "" {
			continue
		}
		field := fmt.Sprintf("linux.namespaces[%d]", i)
		key := ""
		switch n.Type {
		case specs.NetworkNamespace:
			key = networkKey
		case specs.PIDNamespace:
			key = pidKey
		case specs.CgroupNamespace, specs.TimeNamespace:
			return fault.Unsupported.Atf(field, "CRIU can't join a %s namespace", n.Type)
		default:
			c.opts.JoinNamespaces = append(c.opts.JoinNamespaces, criu.Pair{Key: criuNamespace(n.Type), Value: n.Path})
			continue
		}
		file, err := os.Open(n.Path)
		if err != nil {
			return fault.LaunchFailed.At(field, err)
		}
		c.opts.InheritFDs = append(c.opts.InheritFDs, criu.InheritedFD{Key: key, FD: criu.FirstFile + len(c.inherit)})
		c.inherit = append(c.inherit, file)
	}
	return nil
}

func criuNamespace(kind specs.LinuxNamespaceType) string {
	if kind == specs.MountNamespace {
		return "mnt"
	}
	return string(kind)
}

// prepareRoot makes the rootfs what CRIU wants it to be, a mount with all mount points in
// it, in the mount namespace that is CRIU's alone.
func (c *restoration) prepareRoot() error {
	if err := c.o.reopen(c.images.dirs); err != nil {
		return err
	}
	rootfs := c.in.rootfs
	if err := unix.Mount(rootfs, rootfs, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fault.Atf("root.path", "bind %s: %w", rootfs, err)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, rootfs, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fault.Atf("root.path", "open %s: %w", rootfs, err)
	}
	defer unix.Close(fd)
	return external.MakeTargets(fd, c.images.mounts, c.images.sources)
}

// startApart starts a program in a mount namespace of its own, which prepare changes
// first: whatever comes of it, what was mounted there is gone with the program.
func startApart(prepare func() error) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with this function
			if unix.Gettid() != unix.Getpid() {
				done <- enterAndStart(cmd, prepare)
				return
			}
			// Of the first thread /proc/self tells, and it never ends: take another.
			inner := make(chan error)
			go func() {
				runtime.LockOSThread()
				inner <- enterAndStart(cmd, prepare)
			}()
			err := <-inner
			runtime.UnlockOSThread()
			done <- err
		}()
		return <-done
	}
}

func enterAndStart(cmd *exec.Cmd, prepare func() error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slaves: %w", err)
	}
	if err := prepare(); err != nil {
		return err
	}
	return cmd.Start()
}
