package libcontainer

import (
	"errors"
	"fmt"
	"path"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/libcontainer/criu"
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
		return nil, errors.New("--image-path: the directory of the images is not named")
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
			return -1, fmt.Errorf("%s: mkdir %s: %w", flag, path, err)
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: open %s: %w", flag, path, err)
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
			return fmt.Errorf("%s: dup3: %w", dir.flag, err)
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

// message translates the options for CRIU.
func (o *CriuOptions) message(d *criuDirs, rootfs string, annotations map[string]string) *rpc.CriuOpts {
	const debug = 4 // the log is for whoever has to find out why
	m := &rpc.CriuOpts{
		ImagesDirFd:     new(int32(d.images)),
		LogLevel:        new(int32(debug)),
		LogFile:         new(path.Base(d.log)),
		Root:            &rootfs,
		NotifyScripts:   new(true),
		ManageCgroups:   new(true),
		OrphanPtsMaster: new(true),
		TcpEstablished:  &o.TCPEstablished,
		ExtUnixSk:       &o.ExtUnixSockets,
		ShellJob:        &o.ShellJob,
		FileLocks:       &o.FileLocks,
		AutoDedup:       &o.AutoDedup,
		LazyPages:       &o.LazyPages,
	}
	if d.work >= 0 {
		m.WorkDirFd = new(int32(d.work))
	}
	if o.EmptyNetwork {
		m.EmptyNs = new(uint32(unix.CLONE_NEWNET))
	}
	if mode, ok := cgroupMode(o.ManageCgroups); ok {
		m.ManageCgroupsMode = &mode
	}
	config, named := annotations[criuConfigAnnotation]
	if !named {
		config = criuConfigFile
	}
	if config != "" {
		m.ConfigFile = &config
	}
	return m
}

// check refuses what is wrong whatever the container is.
func (o *CriuOptions) check() error {
	if _, ok := cgroupMode(o.ManageCgroups); !ok && o.ManageCgroups != "" {
		return fmt.Errorf("--manage-cgroups-mode: %q is not soft, full, strict or ignore", o.ManageCgroups)
	}
	return nil
}

func cgroupMode(name string) (rpc.CriuCgMode, bool) {
	switch name {
	case "soft":
		return rpc.CriuCgMode_SOFT, true
	case "full":
		return rpc.CriuCgMode_FULL, true
	case "strict":
		return rpc.CriuCgMode_STRICT, true
	case "ignore":
		return rpc.CriuCgMode_IGNORE, true
	}
	return 0, false
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
