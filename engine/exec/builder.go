package exec

import (
	"fmt"
	"io"
	"os"
	"path"

	api "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/host"
	"github.com/gantry-containers/gantry/engine/spec"
)

// Specs makes processes by package spec. Users are looked up in the container's root as its init sees it.
type Specs struct{ Facts host.Facts }

// User implements Builder.
func (b Specs) User(c *container.Container, user string) error {
	_, err := lookup(c, user)
	return err
}

// Process implements Builder.
func (b Specs) Process(c *container.Container, s *specs.Spec, req api.ExecCreateRequest) (*specs.Process, error) {
	u := sameUser(s.Process.User)
	if req.User != "" {
		var err error
		if u, err = lookup(c, req.User); err != nil {
			return nil, err
		}
	}
	return spec.Exec(c, s, req, u, b.Facts)
}

// sameUser is the user that the container itself runs as: there is nothing to look up.
func sameUser(u specs.User) spec.User {
	groups := u.AdditionalGids
	if len(groups) > 0 && groups[0] == u.GID {
		groups = groups[1:] // Package spec puts it there.
	}
	return spec.User{UID: u.UID, GID: u.GID, Additional: groups}
}

func lookup(c *container.Container, user string) (spec.User, error) {
	var groups []string
	if c.HostConfig != nil {
		groups = c.HostConfig.GroupAdd
	}
	passwd, err := readInside(c.State.Pid, "/etc/passwd")
	if err != nil {
		return spec.User{}, err
	}
	group, err := readInside(c.State.Pid, "/etc/group")
	if err != nil {
		return spec.User{}, err
	}
	return spec.Lookup(user, groups, passwd, group)
}

// maxAccounts bounds what is read of a file of accounts, in bytes: an image may hold anything under that name.
const maxAccounts = 4 << 20

// readInside reads a small file of a running container, not leaving its root by any link. It is nil when there is none.
func readInside(pid int, name string) ([]byte, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fmt.Sprintf("/proc/%d/root", pid), Err: err}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), path.Base(name)) //nolint:gosec // a descriptor
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: unix.EINVAL}
	}
	return io.ReadAll(io.LimitReader(f, maxAccounts))
}
