package libcontainer

import (
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu"
	"github.com/gantry-containers/gantry/libcontainer/fault"
)

// CriuOptions is what checkpoint and restore share. The paths are absolute.
type CriuOptions struct {
	// ImagePath is the directory of CRIU's images.
	ImagePath string
	// WorkPath is the directory of CRIU's log; "" is ImagePath.
	WorkPath       string
	TCPEstablished bool // open TCP connections
	ExtUnixSockets bool // unix sockets with a peer outside
	ShellJob       bool // a terminal of the caller's
	FileLocks      bool
	AutoDedup      bool
	LazyPages      bool
	// ManageCgroups is what CRIU may do about cgroups, criu(8) "--manage-cgroups": soft, full,
	// strict or ignore; "" leaves it to CRIU.
	ManageCgroups string
	// EmptyNetwork leaves out what is in the network namespace.
	EmptyNetwork bool
}

// leastCriu is the oldest CRIU that is worked with: the first that leaves cgroups alone on
// demand, and freezes with cgroup v2.
const leastCriu criu.Version = 31500

// The annotation that names a file with further options for CRIU, and the file without it.
// What is in it overrides the command line's.
const (
	criuConfigAnnotation = "org.criu.config"
	criuConfigFile       = "/etc/criu/runc.conf"
)

// criuDirs are the open directories of one run of CRIU.
type criuDirs struct {
	images, work int // work is -1 without one of its own
	log          string
}

// openDirs opens the directories; with create it makes them where they are missing.
func (o *CriuOptions) openDirs(log string, create bool) (*criuDirs, error) {
	if o.ImagePath == "" {
		return nil, fault.Usage.Atf("--image-path", "the directory of the images is not named")
	}
	d := &criuDirs{work: -1, log: o.ImagePath + "/" + log}
	var err error
	if d.images, err = openDirectory("--image-path", o.ImagePath, create); err != nil {
		return nil, err
	}
	if o.WorkPath == "" {
		return d, nil
	}
	d.log = o.WorkPath + "/" + log
	if d.work, err = openDirectory("--work-path", o.WorkPath, create); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func openDirectory(flag, path string, create bool) (int, error) {
	if create {
		if err := unix.Mkdir(path, 0o711); err != nil && err != unix.EEXIST {
			return -1, fault.FlagFailed.Atf(flag, "mkdir %s: %w", path, err)
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fault.FlagFailed.Atf(flag, "open %s: %w", path, err)
	}
	return fd, nil
}

// reopen makes the descriptors those of the caller's mount namespace: CRIU mounts below
// its working directory, and can do so in its own namespace only.
func (o *CriuOptions) reopen(d *criuDirs) error {
	for _, dir := range [...]struct {
		flag, path string
		fd         int
	}{{"--image-path", o.ImagePath, d.images}, {"--work-path", o.WorkPath, d.work}} {
		if dir.fd < 0 {
			continue
		}
		fd, err := openDirectory(dir.flag, dir.path, false)
		if err != nil {
			return err
		}
		err = unix.Dup3(fd, dir.fd, unix.O_CLOEXEC)
		_ = unix.Close(fd)
		if err != nil {
			return fault.FlagFailed.Atf(dir.flag, "dup3: %w", err)
		}
	}
	return nil
}

func (d *criuDirs) close() {
	_ = unix.Close(d.images)
	if d.work >= 0 {
		_ = unix.Close(d.work)
	}
}

// request translates the options for CRIU.
func (o *CriuOptions) request(d *criuDirs, rootfs string, annotations map[string]string) *criu.Options {
	const debug = 4 // the log is for whoever has to find out why
	r := &criu.Options{
		ImagesDirFD:     d.images,
		LogLevel:        debug,
		LogFile:         path.Base(d.log),
		Root:            rootfs,
		NotifyScripts:   true,
		ManageCgroups:   true,
		OrphanPtsMaster: true,
		TCPEstablished:  o.TCPEstablished,
		ExtUnixSockets:  o.ExtUnixSockets,
		ShellJob:        o.ShellJob,
		FileLocks:       o.FileLocks,
		AutoDedup:       o.AutoDedup,
		LazyPages:       o.LazyPages,
	}
	if d.work >= 0 {
		r.WorkDirFD = d.work
	}
	if o.EmptyNetwork {
		r.EmptyNS = unix.CLONE_NEWNET
	}
	r.CgroupMode, _ = cgroupMode(o.ManageCgroups)
	r.ConfigFile = criuConfigFile
	if file, ok := annotations[criuConfigAnnotation]; ok {
		r.ConfigFile = file
	}
	return r
}

// check refuses what is wrong whatever the container is.
func (o *CriuOptions) check() error {
	if _, ok := cgroupMode(o.ManageCgroups); !ok {
		return fault.Usage.Atf("--manage-cgroups-mode", "%q is not soft, full, strict or ignore", o.ManageCgroups)
	}
	return nil
}

func cgroupMode(name string) (criu.CgroupMode, bool) {
	switch name {
	case "soft":
		return criu.CgroupsSoft, true
	case "full":
		return criu.CgroupsFull, true
	case "strict":
		return criu.CgroupsStrict, true
	case "ignore":
		return criu.CgroupsIgnore, true
	}
	return 0, name == ""
}

// networkKey and pidKey are what namespaces that config.json joins are called in images, as
// runc calls them.
const (
	networkKey = "extRootNetNS"
	pidKey     = "extRootPidNS"
)

// namespacePath is the path of a namespace that config.json joins, or "".
func namespacePath(spec *specs.Spec, kind specs.LinuxNamespaceType) string {
	if spec.Linux != nil {
		for _, n := range spec.Linux.Namespaces {
			if n.Type == kind {
				return n.Path
			}
		}
	}
	return ""
}
