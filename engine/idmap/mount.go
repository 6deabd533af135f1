package idmap

import (
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// keeper is an id on disk that stands for the host's root where files are mapped: overlay works with the ids of who
// mounted it, and could not write otherwise. No range reaches it, so no container has such a file.
const keeper = 1<<32 - 256

// Apply makes a detached mount, and those below it, show files with the ids that a container's processes have on the
// host; on disk stay those that the container sees.
func Apply(tree *os.File, m user.IdentityMapping) error {
	ns, err := mount.GetUsernsFD(extents(m.UIDMaps), extents(m.GIDMaps))
	if err != nil {
		return fmt.Errorf("user namespace for a mount: %w", err)
	}
	defer ns.Close()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("map the owners of %s: does its file system know it? %w", tree.Name(), os.NewSyscallError("mount_setattr", err))
	}
	return nil
}

func extents(maps []user.IDMap) string {
	all := make([]string, 0, len(maps)+1)
	for _, m := range maps {
		all = append(all, fmt.Sprintf("%d:%d:%d", m.ID, m.ParentID, m.Count))
	}
	return strings.Join(append(all, fmt.Sprintf("%d:0:1", int64(keeper))), ",")
}

// Specs is a map in the words of OCI.
func Specs(maps []user.IDMap) []specs.LinuxIDMapping {
	all := make([]specs.LinuxIDMapping, 0, len(maps))
	for _, m := range maps {
		all = append(all, specs.LinuxIDMapping{ContainerID: uint32(m.ID), HostID: uint32(m.ParentID), Size: uint32(m.Count)}) //nolint:gosec // checked when they were read
	}
	return all
}
