package validate

import (
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-containers/gantry/libcontainer/host"
)

// AddedMounts checks mounts for a running container, whose config is given, too.
func AddedMounts(list []specs.Mount, config *specs.Spec, facts *host.Facts) []Problem {
	c := newChecker(config, facts)
	c.mounts(list)
	for i := range list {
		opts := scanOptions(&list[i])
		c.addAt("mounts", i, ".destination", refMounts, rootRule(list[i].Destination))
		switch {
		case opts.remount:
			c.addAt("mounts", i, ".options", refMountOptions, "has remount, which could change another mount of a running container")
		case opts.copySymlink > 0 || opts.destNoFollow > 0:
			c.addAt("mounts", i, ".options", refMountOptions, "has copy-symlink or dest-nofollow, which need a container that does not run")
		case !opts.bind && (list[i].Type == "cgroup" || list[i].Type == "cgroup2"):
			c.addAt("mounts", i, ".type", refMounts, "is "+quote(list[i].Type)+", which can't be added to a running container")
		}
	}
	return c.problems
}

// RemovedMounts checks destinations to be unmounted in a running container. What protects
// the container stays.
func RemovedMounts(list []specs.Mount, config *specs.Spec, facts *host.Facts) []Problem {
	c := newChecker(config, facts)
	protected := slices.Concat(c.linux.MaskedPaths, c.linux.ReadonlyPaths)
	for i := range list {
		dest := path.Clean("/" + list[i].Destination)
		c.addAt("mounts", i, ".destination", refMounts, textRule(list[i].Destination))
		c.addAt("mounts", i, ".destination", refMounts, rootRule(list[i].Destination))
		if procRule(&list[i], true) != "" {
			c.addAt("mounts", i, ".destination", refMounts, "is inside /proc, where mounts protect the container")
		}
		if slices.ContainsFunc(protected, func(p string) bool { return path.Clean(p) == dest }) {
			c.addAt("mounts", i, ".destination", refMounts, "is one of linux.maskedPaths or linux.readonlyPaths")
		}
	}
	return c.problems
}

func rootRule(destination string) string {
	if destination != "" && path.Clean("/"+destination) == "/" {
		return "is the container's root"
	}
	return ""
}
