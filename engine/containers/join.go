package containers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/fault"
	"github.com/gantry-containers/gantry/engine/spec"
)

// namespaces are those of other containers that a container joins, by path. The network's is package networks' part.
func (s *starter) namespaces(c *container.Container) (map[specs.LinuxNamespaceType]string, error) {
	paths := map[specs.LinuxNamespaceType]string{}
	if m := c.HostConfig.PidMode; m.IsContainer() {
		other, err := s.donor(m.Container())
		if err != nil {
			return nil, fault.Errorf(errdefs.ErrInternal, "failed to join PID namespace: %v", err)
		}
		paths[specs.PIDNamespace] = namespace(other, "pid")
	}
	if m := c.HostConfig.IpcMode; m.IsContainer() {
		other, err := s.donor(m.Container())
		if err != nil {
			return nil, err
		}
		paths[specs.IPCNamespace] = namespace(other, "ipc")
	}
	users, err := s.joinedUsers(c)
	if users != "" {
		paths[specs.UserNamespace] = users
	}
	return paths, err
}

func namespace(c *container.Container, kind string) string {
	return filepath.Join("/proc", strconv.Itoa(c.State.Pid), "ns", kind)
}

// donor finds a container that another one joins.
func (s *starter) donor(ref string) (*container.Container, error) {
	c, err := s.store.Get(ref)
	switch {
	case err != nil:
		return nil, fault.As(errdefs.ErrInvalidArgument, err)
	case c.State.Status == container.Restarting:
		return nil, restarting(ref)
	case !c.State.Running():
		return nil, notRunning(ref)
	}
	return c, nil
}

func restarting(id string) error {
	return fault.Errorf(errdefs.ErrConflict, "Container %s is restarting, wait until the container is running", id)
}

// shmDir is where the /dev/shm of a container is mounted that others may join.
func shmDir(dir string) string { return filepath.Join(dir, "mounts", "shm") }

// sharedMemory is the folder that the container has as /dev/shm; empty for one of its own.
func (s *starter) sharedMemory(c *container.Container) (string, error) {
	m := c.HostConfig.IpcMode
	switch {
	case m.IsContainer():
		other, err := s.donor(m.Container())
		if err != nil {
			return "", err
		}
		dir := shmDir(s.store.Dir(other.ID))
		if other.HostConfig.IpcMode.IsHost() {
			dir = "/dev/shm"
		}
		if _, err := os.Stat(dir); err != nil {
			return "", fault.Errorf(errdefs.ErrInvalidArgument, "container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", m.Container())
		}
		return dir, nil
	case m.IsHost():
		if _, err := os.Stat("/dev/shm"); err != nil {
			return "", errors.New("/dev/shm is not mounted, but must be for --ipc=host")
		}
		return "/dev/shm", nil
	}
	options, shared := spec.SharedShm(c.HostConfig)
	for _, mnt := range c.Mounts {
		shared = shared && mnt.Destination != "/dev/shm"
	}
	if !shared {
		return "", nil
	}
	dir, err := mountShm(shmDir(s.store.Dir(c.ID)), options)
	if err != nil {
		return "", err
	}
	return dir, own(c, dir)
}

func mountShm(dir, options string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// One of an earlier run whose engine was killed would hold what that run left.
	if err := unmountShm(dir); err != nil {
		return "", err
	}
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return "", &os.PathError{Op: "mount shm tmpfs", Path: dir, Err: err}
	}
	return dir, nil
}

// unmountShm unmounts a folder when it is mounted.
func unmountShm(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "unmount", Path: dir, Err: err}
}

// accountLimit bounds what is read of passwd and group files, in bytes: an image may hold anything under these names.
const accountLimit = 4 << 20

// user finds as whom the program runs.
func (s *starter) user(ctx context.Context, c *container.Container) (_ spec.User, err error) {
	tree, err := s.parts.Roots.Open(ctx, c.ID)
	if err != nil {
		return spec.User{}, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	files := [2][]byte{}
	for i, path := range []string{"/etc/passwd", "/etc/group"} {
		files[i], err = tree.ReadFile(path, accountLimit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errdefs.IsNotFound(err) {
			return spec.User{}, err
		}
	}
	return spec.Lookup(c.Config.User, c.HostConfig.GroupAdd, files[0], files[1])
}
