package libcontainer

import (
	"fmt"
	"os"
	"path"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/bundle"
	"github.com/gantry-containers/gantry/libcontainer/cgroup"
	"github.com/gantry-containers/gantry/libcontainer/criu"
	"github.com/gantry-containers/gantry/libcontainer/external"
	"github.com/gantry-containers/gantry/libcontainer/fault"
	"github.com/gantry-containers/gantry/libcontainer/state"
)

// CheckpointOptions describes a dump of a running container.
type CheckpointOptions struct {
	CriuOptions
	ID string
	// ParentPath is where the images of a pre-dump are, relative to ImagePath; "" for none.
	ParentPath      string
	PreDump         bool // memory only; the container runs on
	LeaveRunning    bool
	TCPSkipInFlight bool // leave out TCP connections that are not yet open
	LinkRemap       bool // files that were unlinked
	// PageServer receives the memory instead of the image directory; "" is none.
	PageServer     string // address
	PageServerPort int
	// StatusFD is written to when the memory may be fetched; -1 for none.
	StatusFD int
}

// Checkpoint writes a running container to files, and ends and removes it, as runc does,
// unless it is to run on. A container whose dump failed runs on as if nothing had been.
func (r *Runtime) Checkpoint(o *CheckpointOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if path.IsAbs(o.ParentPath) {
		return fault.Usage.Atf("--parent-path", "%s is not relative to --image-path", o.ParentPath)
	}
	dir, err := state.Open(r.Root, o.ID)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Lock(lockWait); err != nil {
		return err
	}
	d := &dump{r: r, o: o, dir: dir}
	if err := d.load(); err != nil {
		return err
	}
	if err := d.run(); err != nil {
		return err
	}
	if o.PreDump || o.LeaveRunning {
		return nil
	}
	if err := killAndWait(d.st); err != nil { // CRIU has killed it; it may not be gone yet
		return err
	}
	return r.destroy(dir, d.st)
}

// dump is a checkpoint under way.
type dump struct {
	r    *Runtime
	o    *CheckpointOptions
	dir  *state.Dir
	st   *state.State
	spec *specs.Spec
	opts *criu.Options
}

func (d *dump) load() error {
	st, err := d.dir.Load()
	if err == state.ErrIncomplete {
		return ErrNotExist
	}
	if err != nil {
		return err
	}
	d.st = st
	status, err := statusOf(st)
	if err != nil {
		return err
	}
	if status != Running && status != Paused {
		return fault.ContainerNotRunning.Errorf("container cannot be checkpointed in %s state", status)
	}
	raw, err := d.dir.Config()
	if err != nil {
		return err
	}
	d.spec, _, err = bundle.Decode(raw)
	return err
}

func (d *dump) run() error {
	version, err := criu.Installed()
	if err != nil {
		return err
	}
	if err := version.Need(leastCriu, "checkpoint"); err != nil {
		return err
	}
	dirs, err := d.o.openDirs("dump.log", true)
	if err != nil {
		return err
	}
	defer dirs.close()
	d.opts = d.o.request(dirs, d.st.Rootfs, d.st.Annotations)
	if err := d.describe(); err != nil {
		return err
	}
	call := &criu.Call{Type: criu.PreDump, Options: d.opts, Log: dirs.log}
	if !d.o.PreDump {
		call.Type = criu.Dump
		if err := d.describeOutside(dirs.images); err != nil {
			return err
		}
	}
	_, err = call.Do()
	return err
}

// describe sets what dumps and pre-dumps share.
func (d *dump) describe() error {
	o := d.o
	d.opts.PID = d.st.Init.PID
	d.opts.LeaveRunning = o.LeaveRunning
	d.opts.TCPSkipInFlight = o.TCPSkipInFlight
	d.opts.LinkRemap = o.LinkRemap
	d.opts.FreezeCgroup = cgroup.FromState(d.st.CgroupPaths).FreezerDir()
	d.opts.PageServer, d.opts.PagePort = o.PageServer, o.PageServerPort
	if err := d.describeParent(); err != nil {
		return err
	}
	if o.LazyPages {
		if err := criu.NeedFeature(criu.LazyPages, "--lazy-pages"); err != nil {
			return err
		}
	}
	return d.describeStatusFD()
}

func (d *dump) describeParent() error {
	parent := d.o.ParentPath
	if parent != "" {
		if st, err := os.Stat(path.Join(d.o.ImagePath, parent)); err != nil {
			return fault.FlagFailed.At("--parent-path", err)
		} else if !st.IsDir() {
			return fault.FlagFailed.Atf("--parent-path", "%s: %w", parent, unix.ENOTDIR)
		}
		d.opts.ParentImage, d.opts.TrackMemory = parent, true
	}
	if d.o.PreDump || parent != "" {
		return criu.NeedFeature(criu.MemoryTracking, "pre-dump")
	}
	return nil
}

func (d *dump) describeStatusFD() error {
	fd := d.o.StatusFD
	if fd < 0 {
		return nil
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil && flags&unix.O_ACCMODE == unix.O_RDONLY {
		err = unix.EBADF
	}
	if err != nil {
		return fault.FlagFailed.Atf("--status-fd", "%d is not open for writing: %w", fd, err)
	}
	d.opts.StatusFD = fd
	return nil
}

// describeOutside tells CRIU what of the container lies outside, and keeps for restore
// what is to be put there.
func (d *dump) describeOutside(images int) error {
	in, err := d.r.plannedAgain(d.st, d.spec)
	if err != nil {
		return err
	}
	mounts, err := external.Find(d.st.Init.PID, in)
	if err != nil {
		return fault.CRIUFailed.Of("", err)
	}
	for i := range mounts {
		if m := &mounts[i]; m.Kind != "" {
			d.opts.ExternalMounts = append(d.opts.ExternalMounts, criu.Pair{Key: m.Point, Value: m.Key()})
		}
	}
	if err := external.SaveMounts(images, mounts); err != nil {
		return fault.FlagFailed.At("--image-path", err)
	}
	members, err := cgroup.FromState(d.st.CgroupPaths).PIDs()
	if err != nil {
		return err
	}
	keys, err := external.Descriptors(d.st.Init.PID, members)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if external.IsFile(key) {
			d.opts.External = append(d.opts.External, key)
		}
	}
	if err := external.SaveDescriptors(images, keys); err != nil {
		return fault.FlagFailed.At("--image-path", err)
	}
	return d.describeNamespaces()
}

// describeNamespaces leaves out what is in namespaces that the container joined and CRIU
// could not make again: the network and the pids in them are others', too.
func (d *dump) describeNamespaces() error {
	for _, n := range [...]struct {
		kind       specs.LinuxNamespaceType
		file, name string
	}{
		{specs.NetworkNamespace, "net", networkKey},
		{specs.PIDNamespace, "pid", pidKey},
	} {
		if namespacePath(d.spec, n.kind) == "" {
			continue
		}
		var st unix.Stat_t
		file := "/proc/" + strconv.Itoa(d.st.Init.PID) + "/ns/" + n.file
		if err := unix.Stat(file, &st); err != nil {
			return fmt.Errorf("stat %s: %w", file, err)
		}
		d.opts.External = append(d.opts.External, n.file+"["+strconv.FormatUint(st.Ino, 10)+"]:"+n.name)
	}
	return nil
}
